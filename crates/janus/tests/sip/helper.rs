//! Helper handles: further calls of one account.

use super::*;

/// A client with a guest account, its number, and a second handle that is its helper.
fn with_helper() -> (Client, u64, u64) {
    let mut client = Client::new();
    client.asks(json!({"request": "register", "type": "guest", "username": "sip:guest@127.0.0.1"}));
    let registered = client.hears("registered").data["result"].clone();
    let master_id = registered["master_id"].as_u64().expect("a number");
    client.sip.clear();
    let master = client.handle;
    client.says(&json!({"janus": "attach", "session_id": 1, "plugin": "janus.plugin.sip", "transaction": "a"}));
    let attached = client.heard.pop_front().expect("an answer");
    let helper = attached["data"]["id"].as_u64().expect("attached");
    client.handle = helper;
    client.asks(json!({"request": "register", "type": "helper", "username": "sip:x@y", "master_id": master_id}));
    let heard = client.hears("registered").data["result"].clone();
    assert_eq!(
        heard,
        json!({"event": "registered", "username": "guest", "register_sent": false, "helper": true, "master_id": master_id})
    );
    assert!(client.sip.is_empty(), "the account is there already");
    (client, master, helper)
}

fn sender(client: &Client) -> u64 {
    let event = client.heard.front().expect("an event");
    event["sender"].as_u64().expect("a handle")
}

#[test]
fn a_helper_calls_with_the_account_of_its_master_and_cannot_end_it() {
    let (mut client, ..) = with_helper();
    client.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
    client.hears("calling");
    assert!(matches!(client.told_sip(), Sip::Call(spec) if spec.account == GUEST));
    client.asks(json!({"request": "unregister"}));
    assert_eq!(client.is_refused().0, 447);
    client.asks(json!({"request": "register", "type": "guest", "username": "sip:other@h"}));
    assert_eq!(client.is_refused().0, 445);
}

#[test]
fn a_second_call_rings_at_the_helper_and_a_third_is_missed_by_the_master() {
    let (mut client, master, helper) = with_helper();
    for (leg, handle) in [(1, master), (2, helper)] {
        client.sip_says(incoming(leg, GUEST, Some(TELEPHONE)));
        assert_eq!(sender(&client), handle);
        client.hears("incomingcall");
        assert!(matches!(client.told_sip(), Sip::Ring { .. }));
    }
    client.sip_says(incoming(3, GUEST, Some(TELEPHONE)));
    assert!(matches!(client.told_sip(), Sip::Decline { code: 486, .. }));
    assert_eq!(sender(&client), master);
    client.hears("missed_call");
}

#[test]
fn a_helper_that_goes_leaves_the_account_and_a_master_that_goes_takes_its_helpers_along() {
    let (mut client, master, helper) = with_helper();
    client.says(&json!({"janus": "detach", "session_id": 1, "handle_id": helper, "transaction": "d"}));
    client.heard.clear();
    assert!(client.sip.is_empty(), "{:?}", client.sip);
    client.sip_says(incoming(1, GUEST, Some(TELEPHONE)));
    assert_eq!(sender(&client), master);

    let (mut client, master, helper) = with_helper();
    client.asks_with(json!({"request": "call", "uri": "sip:echo@127.0.0.1:5066"}), offer());
    client.hears("calling");
    client.sip.clear();
    client.says(&json!({"janus": "detach", "session_id": 1, "handle_id": master, "transaction": "d"}));
    let said: Vec<_> = client
        .heard
        .iter()
        .map(|event| (event["janus"].clone(), event["sender"].clone()))
        .collect();
    assert!(said.contains(&(json!("detached"), json!(helper))), "{said:?}");
    let hung_up = client.sip.iter().any(|command| matches!(command, Sip::Hangup { .. }));
    let unregistered = client
        .sip
        .iter()
        .any(|command| matches!(command, Sip::Unregister { .. }));
    assert!(hung_up && unregistered, "{:?}", client.sip);
    client.heard.clear();
    client.says(
        &json!({"janus": "message", "session_id": 1, "handle_id": helper, "body": {"request": "hangup"},
        "transaction": "h"}),
    );
    assert_eq!(client.heard[0]["error"]["code"], 459, "the handle is gone");
}
