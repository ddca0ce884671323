//! How many files and sockets this process may have open: every relay takes one, so does every stream.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use voex_config::Settings;

use crate::addresses::Addresses;

/// Descriptors that are no relays: listeners, media sockets, wakers, Redis, the API, and a few streams.
const BESIDE: u64 = 1_024;

/// Raises the soft limit to the hard one, and warns when that is not enough for all relay ports.
pub(crate) fn raise_limit(settings: &Settings, addresses: &Addresses) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(hard) => {
            let wanted = wanted(settings, addresses);
            if hard < wanted {
                tracing::warn!(
                    "this process may have {hard} descriptors open, the relay ports need {wanted}: allocations beyond \
                     are refused with 508; allow more (LimitNOFILE={wanted} in the unit, --ulimit nofile={wanted} of a \
                     container, `ulimit -Hn`)"
                );
            }
        }
        Err(error) => tracing::warn!("the limit of descriptors stays as it is: {error}"),
    }
}

fn wanted(settings: &Settings, addresses: &Addresses) -> u64 {
    let relays = match settings.turn.enabled {
        true => addresses.relays.len() as u64 * u64::from(settings.turn.relay_ports.count()),
        false => 0,
    };
    relays + BESIDE
}
