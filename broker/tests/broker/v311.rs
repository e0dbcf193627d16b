//! MQTT 3.1.1 by bytes, where it differs from 5: return codes, no reasons, no DISCONNECT of ours, no properties.

use tessera_broker::codec::{Packet, Password, QoS, ReasonCode, Version};
use tessera_token::encoding::hex;

use crate::client::{plan, publish, retained, Client, Plan};
use crate::world::{backend_scope, scope, world, world_with, World};

fn old<'w>(world: &'w World, name: &str) -> Plan<'w> {
    plan(world, name, Version::V311)
}

/// Everything on `t/…`.
async fn free(world: &World, name: &str) -> Client {
    old(world, name).scope(scope(&[("both", "t/#")])).open().await
}

/// A CONNECT whose payload is written out.
fn connect(level: &str, flags: &str, payload: &str) -> String {
    let rest = format!("0004 4d515454 {level} {flags} 0000 {payload}").replace(' ', "");
    format!("10 {:02x} {rest}", rest.len() / 2)
}

const ANY: &str = "0003 642d31";

/// [MQTT-3.1.2-1] to [MQTT-3.1.2-3], [MQTT-3.1.2-22], [MQTT-3.1.3-7] to [MQTT-3.1.3-9], [MQTT-3.1.4-1], [MQTT-3.2.2-4],
/// [MQTT-3.2.2-5]: a code where there is one for it, else a close without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_is_not_accepted_gets_its_return_code_or_nothing() {
    let world = world().await;
    let user = "0001 75";
    let password = "0001 70";
    let cases = [
        ("level 3", connect("03", "02", ANY), "20 02 00 01"),
        ("level 0", connect("00", "02", ANY), "20 02 00 01"),
        // A bridge of mosquitto (`try_private`), which comes again with 04 when it is told 1.
        ("bridge, level 4", connect("84", "02", ANY), "20 02 00 01"),
        ("bridge, level 3", connect("83", "02", ANY), "20 02 00 01"),
        ("bridge, level 5", connect("85", "02", ANY), "20 03 00 84 00"),
        ("level 6", connect("06", "02", ANY), "20 03 00 84 00"),
        ("level 255", connect("ff", "02", ANY), "20 03 00 84 00"),
        ("another protocol", connect("04", "02", ANY).replace("5454", "5458"), "20 02 00 01"),
        ("empty id, session kept", connect("04", "00", "0000"), "20 02 00 02"),
        ("empty id", connect("04", "c2", &format!("0000 {user} {password}")), "20 02 00 02"),
        ("no credential", connect("04", "02", ANY), "20 02 00 05"),
        ("user name alone", connect("04", "82", &format!("{ANY} {user}")), "20 02 00 05"),
        ("bad credential", connect("04", "c2", &format!("{ANY} {user} {password}")), "20 02 00 05"),
        (
            "id with a slash",
            connect("04", "c2", &format!("0001 2f {user} {password}")),
            "20 02 00 05",
        ),
        ("password alone", connect("04", "42", &format!("{ANY} {password}")), ""),
        ("reserved flag", connect("04", "03", ANY), ""),
        ("will QoS 3", connect("04", "1e", &format!("{ANY} 0001 74 0000")), ""),
        ("will QoS without will", connect("04", "0a", ANY), ""),
        ("will retain without will", connect("04", "22", ANY), ""),
        ("will missing", connect("04", "06", ANY), ""),
        ("bytes left over", connect("04", "02", &format!("{ANY} 00")), ""),
        ("id with U+0000", connect("04", "02", "0001 00"), ""),
        ("id that is no UTF-8", connect("04", "02", "0001 ff"), ""),
    ];
    for (name, sent, expected) in cases {
        let mut client = Client::raw(&world, Version::V311).await;
        client.bytes(&hex::decode(sent.replace(' ', "")).unwrap()).await;
        assert_eq!(hex::encode(client.next_bytes().await), expected.replace(' ', ""), "{name}");
        assert_eq!(client.next_bytes().await, b"", "{name}: closed");
    }
    assert_eq!(world.broker.sessions(), 0);
}

/// [MQTT-3.2.0-1], [MQTT-3.2.2-1] to [MQTT-3.2.2-3]; no properties follow the two bytes.
#[tokio::test(flavor = "multi_thread")]
async fn clean_session_decides_what_is_kept() {
    let world = world().await;
    let open = |clean: bool| {
        let mut plan = old(&world, "d-1");
        plan.connect.clean_start = clean;
        plan
    };
    // (clean session, session present): [MQTT-3.1.2-4], [MQTT-3.1.2-6].
    let steps = [
        (true, "20020000"),
        (false, "20020000"),
        (false, "20020100"),
        (true, "20020000"),
        (false, "20020000"),
    ];
    for (n, (clean, expected)) in steps.into_iter().enumerate() {
        let mut plan = open(clean);
        let token = world.token("d-1", crate::world::device_scope("d-1"));
        plan.connect.password = Some(Password::new(world.password("d-1", "d-1", token).into()));
        let mut client = Client::raw(&world, Version::V311).await;
        client.send(&Packet::Connect(Box::new(plan.connect))).await;
        assert_eq!(hex::encode(client.next_bytes().await), expected, "step {n}");
        client.answered("c0 00", "d0 00").await;
        client.goodbye().await;
    }
}

/// [MQTT-3.14.4-3] and section 3.14: a server says no DISCONNECT in 3.1.1; whatever ends a connection, it is closed.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_connection_it_ends_without_a_word() {
    let world = world().await;
    let second_connect = connect("04", "02", ANY);
    let broken = [
        ("second CONNECT [MQTT-3.1.0-2]", second_connect.as_str()),
        ("QoS 3 [MQTT-3.3.1-4]", "36 07 0003 742f31 0001"),
        ("DUP with QoS 0 [MQTT-3.3.1-2]", "38 05 0003 742f31"),
        ("wildcard in a name [MQTT-3.3.2-2]", "30 05 0003 742f23"),
        ("topic not allowed, QoS 0 [MQTT-3.3.5-2]", "30 03 0001 75"),
        ("topic not allowed, QoS 1", "32 05 0001 75 0001"),
        ("topic not allowed, QoS 2", "34 05 0001 75 0001"),
        ("packet id 0 [MQTT-2.3.1-1]", "32 07 0003 742f31 0000"),
        ("flags of PUBREL [MQTT-3.6.1-1]", "60 02 0001"),
        ("flags of SUBSCRIBE [MQTT-3.8.1-1]", "80 08 0001 0003 742f31 00"),
        ("SUBSCRIBE without filter [MQTT-3.8.3-3]", "82 02 0001"),
        ("requested QoS 3 [MQTT-3-8.3-4]", "82 08 0001 0003 742f31 03"),
        ("options of MQTT 5 [MQTT-3-8.3-4]", "82 08 0001 0003 742f31 04"),
        ("flags of UNSUBSCRIBE [MQTT-3.10.1-1]", "a0 07 0001 0003 742f31"),
        ("UNSUBSCRIBE without filter [MQTT-3.10.3-2]", "a2 02 0001"),
        ("flags of DISCONNECT [MQTT-3.14.1-1]", "e1 00"),
        ("DISCONNECT with a reason of MQTT 5", "e0 01 04"),
        ("AUTH of MQTT 5", "f0 00"),
        ("type 0", "00 00"),
        ("CONNACK from a client", "20 02 00 00"),
        ("PINGRESP from a client", "d0 00"),
        ("PUBACK with a reason of MQTT 5", "40 03 0001 00"),
    ];
    for (name, sent) in broken {
        let mut client = free(&world, "d-1").await;
        client.bytes(&hex::decode(sent.replace(' ', "")).unwrap()).await;
        assert_eq!(client.next_bytes().await, b"", "{name}");
    }
    let mut victim = free(&world, "d-1").await;
    let _next = free(&world, "d-1").await;
    assert_eq!(victim.next_bytes().await, b"", "taken over [MQTT-3.1.4-2]");
    let mut silent = old(&world, "d-2").keep_alive(10).open().await;
    world.advance(15);
    assert_eq!(silent.next_bytes().await, b"", "keep-alive [MQTT-3.1.2-24]");
    let mut revoked = free(&world, "d-3").await;
    world.revoke_device("d-3");
    assert_eq!(revoked.next_bytes().await, b"", "revoked");
    let mut expired = free(&world, "d-4").await;
    world.advance(3600);
    assert_eq!(expired.next_bytes().await, b"", "expired");
}

/// [MQTT-3.8.4-1] to [MQTT-3.8.4-6], [MQTT-3.9.3-1], [MQTT-3.9.3-2]: 0x80 is the only refusal there is.
#[tokio::test(flavor = "multi_thread")]
async fn suback_has_granted_qos_or_0x80_in_order() {
    let world = world_with(|raw| raw.limits.subscriptions = 3).await;
    let mut client = free(&world, "d-1").await;
    // t/1 QoS 0, u QoS 1, t/+ QoS 1, $share/g/t QoS 1, t/1 QoS 2, t/2, t/3.
    let filters = "0003 742f31 00 0001 75 01 0003 742f2b 01 000a 2473686172652f672f74 01 \
                   0003 742f31 02 0003 742f32 00 0003 742f33 00";
    client.answered(&format!("82 31 0a0b {filters}"), "90 09 0a0b 00 80 01 80 02 00 80").await;
    client.answered("82 08 0a0c 0003 742323 00", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_subscriptions_of_311_by_setting() {
    let world = world_with(|raw| raw.shared_for_v311 = true).await;
    let mut client = free(&world, "d-1").await;
    client.answered("82 0f 0a0b 000a 2473686172652f672f74 01", "90 03 0a0b 01").await;
    assert_eq!(client.publish_acked("t", b"x").await, ReasonCode::SUCCESS);
    assert_eq!(&client.message().await.payload[..], b"x");
}

/// [MQTT-3.8.4-3]: the same filter again replaces, and what is retained is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_of_311() {
    let world = world().await;
    let (mut writer, mut reader) = (free(&world, "w").await, free(&world, "r").await);
    // A retained QoS 0 message takes the place of a QoS 1 one [MQTT-3.3.1-7].
    writer.send(&retained("t/1", b"one")).await;
    writer.answered("", "40 02 0009").await;
    writer.answered("31 08 0003 742f31 74776f c0 00", "d0 00").await;
    for _ in 0..2 {
        // SUBSCRIBE with QoS 2; the message comes with the lower of both, marked [MQTT-3.3.1-8].
        reader.answered("82 08 0001 0003 742f31 02", "90 03 0001 02").await;
        assert_eq!(hex::encode(reader.next_bytes().await), "31080003742f3174776f");
    }
    // To who is subscribed already it comes without the mark [MQTT-3.3.1-9], once.
    writer.answered("33 0a 0003 742f31 0002 746f6f", "40 02 0002").await;
    let mut live = reader.next_bytes().await;
    live.drain(7..9);
    assert_eq!(hex::encode(live), "320a0003742f31746f6f");
    // A plain message neither replaces nor deletes [MQTT-3.3.1-12].
    writer.publish_acked("t/1", b"").await;
    reader.next_bytes().await;
    reader.bytes(&[0x40, 2, 0, 1, 0x40, 2, 0, 2]).await;
    reader.answered("82 08 0001 0003 742f31 00", "90 03 0001 00").await;
    assert_eq!(hex::encode(reader.next_bytes().await), "31080003742f31746f6f");
    // The retained messages are no part of a session [MQTT-3.1.2-7], and an empty one deletes [MQTT-3.3.1-10].
    reader.goodbye().await;
    let mut reader = free(&world, "r").await;
    reader.answered("82 08 0001 0003 742f31 00", "90 03 0001 00").await;
    assert_eq!(hex::encode(reader.next_bytes().await), "31080003742f31746f6f");
    writer.answered("33 07 0003 742f31 0003", "40 02 0003").await;
    assert_eq!(hex::encode(reader.next_bytes().await), "30050003742f31");
    reader.answered("82 08 0001 0003 742f31 00", "90 03 0001 00").await;
    reader.quiet().await;
}

/// [MQTT-3.3.5-1], [MQTT-3.10.4-5], [MQTT-3.4.x]: answers are two bytes of packet id, whatever they say in MQTT 5, and
/// what an MQTT 5 client attached does not reach a 3.1.1 client.
#[tokio::test(flavor = "multi_thread")]
async fn answers_and_messages_have_no_properties() {
    let world = world().await;
    let (mut writer, mut reader) = (free(&world, "w").await, free(&world, "r").await);
    // No client listens and nothing was subscribed to: the same bytes as ever.
    writer.answered("32 07 0003 742f31 0007", "40 02 0007").await;
    writer.answered("a2 07 0008 0003 742f31", "b0 02 0008").await;
    writer.answered("34 07 0003 742f31 0009", "50 02 0009").await;
    writer.answered("62 02 0009", "70 02 0009").await;
    writer.answered("62 02 0009", "70 02 0009").await;
    reader.answered("82 08 0001 0003 742f31 00", "90 03 0001 00").await;
    reader.answered("82 08 0002 0003 742f2b 00", "90 03 0002 00").await;
    let mut new = plan(&world, "n", Version::V5).scope(scope(&[("pub", "t/#")])).open().await;
    // PUBLISH of MQTT 5 with expiry, user property, alias, payload format.
    let properties = "19 0101 020000003c 2600016b000176 230001 08000172 03000163";
    new.answered(&format!("30 20 0003 742f31 {properties} 78 c0 00"), "d0 00").await;
    for _ in 0..2 {
        assert_eq!(hex::encode(reader.next_bytes().await), "30060003742f3178");
    }
    reader.quiet().await;
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-3.3.1-3]: with CleanSession 0, by bytes.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again() {
    let world = world().await;
    let kept = || old(&world, "d-1").kept(0);
    let mut hub = old(&world, "hub").scope(backend_scope()).open().await;
    let mut device = kept().open().await;
    device.subscribe("d/d-1/cmd", QoS::ExactlyOnce).await;
    // The publisher's DUP is its own.
    hub.answered("3a 0f 0009 642f642d312f636d64 0005 6f6e", "40 02 0005").await;
    hub.send(&publish("d/d-1/cmd", QoS::ExactlyOnce, b"x")).await;
    hub.answered("", "50 02 0009").await;
    hub.answered("62 02 0009", "70 02 0009").await;
    let one = "0009642f642d312f636d6400016f6e";
    let two = "0009642f642d312f636d64000278";
    assert_eq!(hex::encode(device.next_bytes().await), format!("320f{one}"));
    assert_eq!(hex::encode(device.next_bytes().await), format!("340e{two}"));
    drop(device);
    let mut device = kept().open().await;
    assert_eq!(hex::encode(device.next_bytes().await), format!("3a0f{one}"));
    assert_eq!(hex::encode(device.next_bytes().await), format!("3c0e{two}"));
    device.bytes(&[0x40, 2, 0, 1]).await;
    device.answered("50 02 0002", "62 02 0002").await;
    drop(device);
    let mut device = kept().open().await;
    device.answered("", "62 02 0002").await;
    device.bytes(&[0x70, 2, 0, 2]).await;
    device.quiet().await;
}
