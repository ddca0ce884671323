// A browser at the console: a page elsewhere tries to end sessions and to drain, then the console's own buttons do.
// config: {url, user}
// Prints {foreign: what became of the foreign page's requests, before, first, after: rows shown, cells: of the first row}.
import { run } from './browser.mjs';

await run(async (open, { url, user }) => {
  const page = await open('console');
  // The page that is open now is of another origin, as any page of the Internet is.
  const foreign = await page.evaluate(async ([url, user]) => {
    const said = (promise) => promise.then((answer) => answer.type + ' ' + answer.status, () => 'refused');
    return [
      await said(fetch(`${url}/api/v1/turn/sessions?user=${user}`, { method: 'DELETE' })),
      await said(fetch(`${url}/api/v1/turn/sessions`)),
      await said(fetch(`${url}/api/v1/drain`, { method: 'POST', mode: 'no-cors', body: '{}' })),
      await said(fetch(`${url}/api/v1/drain`, { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } })),
    ];
  }, [url, user]);

  await page.goto(`${url}/`);
  const ends = page.locator('#sessions button.end');
  const shown = (count) => page.waitForFunction((count) => document.querySelectorAll('#sessions button.end').length === count, count, { timeout: 10000 });
  await page.fill('#user', user);
  await shown(2);
  const before = await ends.count();
  const cells = await page.locator('#sessions tr').first().locator('td').allTextContents();
  await ends.first().click();
  await shown(1);
  const first = await ends.count();
  await page.click('#end-user');
  await shown(0);
  return { foreign, before, first, after: await ends.count(), cells, said: await page.textContent('#said') };
});
