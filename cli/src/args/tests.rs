use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_line_that_the_documents_show() {
    for line in [
        "tessera up",
        "tessera completions zsh",
        "tessera man d/man1",
        "tessera openapi",
        "tessera import claims lots.ndjson --dry-run",
        "tessera import claims lots.ndjson --answers codes.ndjson --from-line 7 --errors e --tenant acme",
        "tessera config print --config c.toml --for broker --json",
        "tessera config check c.toml",
        "tessera up --data d --mqtt 127.0.0.1:0 --http 127.0.0.1:0 --metrics 127.0.0.1:0 --config c.toml --log debug",
        "tessera provision --data d --http 127.0.0.1:0",
        "tessera provision --http 0.0.0.0:8443 --https-cert c --https-key k --trusted-proxy 10.0.0.0/8",
        "tessera up --http 0.0.0.0:8080 --http-in-clear --trusted-proxy 10.0.0.1 --trusted-proxy 10.0.0.2",
        "tessera broker --provisioning https://x:1 --cafile ca.pem --feed-token f --root r",
        "tessera device enrol --http https://x:1 --cafile ca.pem --device d-17 --claim c",
        "tessera devices --http https://x:1 --cafile ca.pem",
        "tessera broker --data d --mqtt 127.0.0.1:0 --provisioning http://x:1 --feed-token f --root r",
        "tessera agent --provisioning http://x:1 --feed-token f --root r --http 127.0.0.1:0 --socket s",
        "tessera agent --provisioning http://x:1 --feed-token f --feed-tenant a --feed-tenant b --root r",
        "tessera agent replay --input o.ndjson --alerts a.ndjson",
        "tessera agent convert --from mosquitto-log --input m.log --out o.ndjson",
        "tessera agent convert --from tshark --input - --out - --tenant acme --name-level 2",
        "tessera rule check --rule r.toml --json",
        "tessera rule test --rule r.json --against - --json",
        "tessera sim observe --default",
        "tessera sim observe --scenario s.toml --seed 7 --out o.ndjson --truth t.ndjson",
        "tessera sim score",
        "tessera sim score --scenario s.toml --seeds 301,302 --markdown d.md --json s.json --profile p.json",
        "tessera sim score --input o.ndjson --truth t.ndjson",
        "tessera sim score --input o.ndjson --truth t.ndjson --alerts a.ndjson",
        "tessera operator create gw --role feed --tenant acme",
        "tessera demo --for 30s --devices 20 --seed 7",
        "tessera device enrol --http http://x:1 --tenant t --device d-17 --claim c --dir d",
        "tessera device token --dir d --refresh",
        "tessera device password --dir d",
        "tessera device connect --dir d --mqtt x:1 --test",
        "tessera device doctor --dir d",
        "tessera device doctor --dir d --topic a --topic b --subscribe c --client-id d~2 --password @p --json --v5",
        "tessera device doctor --dir d --mqtt mqtts://b:1 --cafile ca.pem --verifier north",
        "tessera device proxy --dir d-17 --broker mqtts://broker.example:8883",
        "tessera device proxy --mqtt x:1 --listen unix:/run/d-17/mqtt.sock --clients 3 --log debug",
        "tessera device token --dir d --refresh --pop hmac",
        "tessera device refresh-token --dir d --json",
        "tessera role set meter --publish d/{device}/telemetry --refresh-tokens",
        "tessera sim run --devices 5 --pop hmac --operator-token T",
        "tessera up --derivation-keys derivation.keys",
        "tessera tenant create acme --bearer",
        "tessera tenant bearer acme on",
        "tessera operator create ann --role viewer --role fleet --tenant acme --tenant north",
        "tessera operator create night-shift --role security --all-tenants",
        "tessera operator list",
        "tessera api-token create --purpose export --role security --all-tenants --expires-in 604800 --plain",
        "tessera api-token list --where state=active",
        "tessera api-token delete 0011223344556677 --json",
        "tessera token check @token",
        "tessera token introspect @token --json",
        "tessera operator delete ann",
        "tessera provision --data d --new-operator",
        "tessera role set meter --publish d/{device}/telemetry",
        "tessera claim create --role sensor --http 127.0.0.1:1 --operator-token @f --json",
        "tessera devices d-17",
        "tessera devices --where state=revoked --where group=floor-2 --limit 100",
        "tessera audit list --limit 10 --cursor 7 --json",
        "tessera can d-17 publish d/d-18/x",
        "tessera can d-17 subscribe d/+/telemetry --tenant acme --json",
        "tessera backup --data d --out o --json",
        "tessera device password --dir d --json",
        "tessera revoke device d-17 --tenant acme",
        "tessera revoke tenant acme",
        "tessera reinstate device d-17",
        "tessera suspend device d-17 --reason moved",
        "tessera history d-17 --limit 10",
        "tessera rekey list --tenant acme",
        "tessera rekey approve d-17 -T",
        "tessera rekey refuse d-17 T --json",
        "tessera group show floor-2",
        "tessera group set floor-2 --reenrol device",
        "tessera device rekey --dir d-17",
        "tessera device rekey --lost --http http://x:1 --device d-17 --dir d",
        "tessera suspend group floor-2 --tenant acme --json",
        "tessera change announce --group floor-2 --for 6h --reason x --tenant acme",
        "tessera change announce --group floor-2 --end --reason x",
        "tessera reinstate group floor-2",
        "tessera keys rotate",
        "tessera root new --out root.key",
        "tessera root request --data d --out r --keep-online --offline T",
        "tessera root request --data d --out r --compromised --database postgres://h/d",
        "tessera root sign r --key root.key --out s --yes",
        "tessera root accept s --data d --json",
        "tessera broker --provisioning http://x:1 --feed-token f --root r --offline-root o",
        "tessera audit verify",
        "tessera audit list --actor ann --since 2026-11-01 --until 2026-11-02T10:00:00Z --action device.revoke",
        "tessera audit list --tenant acme --subject d-17 --limit 10 --json",
        "tessera audit tail --lines 50 --tenant acme --json",
        "tessera audit export",
        "tessera audit verify --file audit.ndjson --root root.thumbprint",
        "tessera bench connect-tls storm storm-restart",
        "tessera bench growth --sessions 15000 --peer none",
        "tessera bench fan-in-1 --peer mosquitto --peer flashmq=/usr/bin/flashmq",
        "tessera bench flood revoke leave --peer none --clients 10000",
        "tessera bench fan-in-0 fan-out-1 --rounds 5 --seconds 0.5 --json b.json",
        "tessera sim run --devices 5 --for 3s --seed 1",
        "tessera sim credentials --devices 5 --proof bearer --out f --http x:1 --operator-token T --role sensor",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    for line in [
        "tessera",
        "tessera up --mqtt nonsense",
        "tessera demo --for soon",
        "tessera broker",
        "tessera sim credentials --devices 5 --proof magic --out f",
        "tessera device proxy --dir d",
        "tessera device proxy --broker x:1 --listen 0.0.0.0:1883",
        "tessera device token --dir d --pop hmac",
        "tessera device token --dir d --refresh --pop hmac --bearer",
        "tessera agent --derivation-keys f --provisioning http://x:1 --feed-token f --root r",
        "tessera agent --provisioning http://x:1 --feed-token f --feed-tenant a/b --root r",
        "tessera agent",
        "tessera agent replay",
        "tessera agent replay --input f --root r",
        "tessera agent convert --from emqx --input f --out o",
        "tessera sim observe --out o",
        "tessera sim score --input o",
        "tessera sim score --seeds x",
        "tessera sim score --scenario s --input o --truth t",
        "tessera tenant bearer acme perhaps",
        "tessera root request --data d --out r --offline T --no-offline",
        "tessera root request --data d --out r --keep-online --compromised",
        "tessera root sign r --out s --yes",
        "tessera devices d-17 --where state=revoked",
        "tessera devices --where revoked",
        "tessera devices --limit 0",
        "tessera device rekey --device d-17",
        "tessera group set floor-2 --reenrol all",
        "tessera devices --cursor d-17",
        "tessera can d-17 receive a",
        "tessera operator create ann --role viewer",
        "tessera operator create ann --tenant acme",
        "tessera operator create ann --role viewer --tenant acme --all-tenants",
        "tessera operator create ann --role root --all-tenants",
        "tessera bench --peer emqx",
        "tessera bench --peer mosquitto=/usr/sbin/mosquitto",
        "tessera bench --peer flashmq",
        "tessera bench --peer flashmq=",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn peers_of_the_bench() {
    let peers = |line| match parse(line).unwrap().command {
        Command::Bench(args) => args.peer,
        _ => panic!("no bench"),
    };
    assert_eq!(peers("tessera bench"), [Peer::Mosquitto]);
    assert_eq!(peers("tessera bench --peer none"), [Peer::None]);
    assert_eq!(
        peers("tessera bench --peer flashmq=/opt/a=b/flashmq --peer mosquitto"),
        [Peer::Flashmq("/opt/a=b/flashmq".into()), Peer::Mosquitto]
    );
    let told = parse("tessera bench --peer flashmq").err().unwrap().to_string();
    assert!(told.contains("flashmq=/usr/bin/flashmq"), "{told}");
}

#[test]
fn http_without_a_scheme() {
    let arg = HttpArg { http: "127.0.0.1:8080".to_owned(), trust: TrustArgs::default() };
    assert_eq!(arg.server().url, "http://127.0.0.1:8080");
}

/// Every command of the tree that is typed alone: those without commands of their own, and those that need none.
fn leaves(command: &clap::Command, typed: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    let mut found: Vec<String> =
        below.flat_map(|below| leaves(below, &format!("{typed} {}", below.get_name()))).collect();
    if found.is_empty() || command.is_subcommand_negates_reqs_set() {
        found.push(typed.to_owned());
    }
    found
}

#[test]
fn commands_and_their_page_are_the_same() {
    let page = include_str!("../../../docs/commands.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: std::collections::BTreeSet<String> = rows.map(str::to_owned).collect();
    let commands = leaves(&Cli::command(), "tessera").into_iter().collect();
    assert_eq!(rows, commands, "docs/commands.md: left the page, right the commands");
}

/// Lines of emqtt-bench's own pages, behind the name of its program, and what they mean here.
#[test]
fn lines_of_emqtt_bench_are_taken() {
    for line in [
        "conn -c 50000 -R 1000",
        "conn -c 50000 -i 10",
        "conn -h 192.168.1.10 -p 1883 -c 200 -V 4 -k 60 -C false -x 300 -n 100",
        "sub -c 50000 -i 10 -t bench/%i -q 2",
        "sub -t t -h emqx-server -c 500 -q 2",
        "sub -c 100 -i 10 -t bench/%i -p 8883 -S",
        "sub -c 100 -i 10 -t bench/%i -p 8883 --certfile path/client-cert.pem --keyfile path/client-key.pem",
        "sub -t t --ifaddr 192.168.2.10",
        "sub -t t --prefix a -s",
        "pub -c 100 -I 10 -t bench/%i -s 256",
        "pub -c 100 -I 10 -t bench/%i -p 8883 -s 256 -S",
        "pub -t t --ifaddr 192.168.1.10",
        "pub -t t -h emqx-server -s 4096 -q 2 -r true -L 1000 -w",
        "pub -t bench/%c -c 10 --ws true --shortids true --payload-hdrs cnt64,ts",
        "pub -c 1 -m hello -t t -C true -R 10 --ifaddr 127.0.0.1,127.0.0.2",
    ] {
        let parsed = parse(&format!("tessera sim {line}"));
        assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
    }
    for line in [
        "conn -u name",
        "conn -P secret",
        "conn -V 3",
        "conn -c 0",
        "conn -c 50001",
        "pub -c 1",
        "pub -t t -q 3",
        "pub -t t -s 70000",
        "sub -t t --ifaddr eth0",
        "storm -c 1",
        "remove --prefix a",
    ] {
        assert!(parse(&format!("tessera sim {line}")).is_err(), "{line}");
    }
}

#[test]
fn flags_of_emqtt_bench_mean_the_same_here() {
    let sim = |line: &str| match parse(line).unwrap().command {
        Command::Sim(command) => command,
        _ => panic!("{line}"),
    };
    let line = "tessera sim pub -h b -p 8883 -V 4 -c 7 -n 3 -i 20 -R 50 -t a/%c -t b/%i -s 9 -q 1 -r -k 5 \
                -C false -x 60 -I 8 -L 40 -S --cacertfile ca --ws --ifaddr 127.0.0.2,127.0.0.3 --prefix p \
                --shortids -w --payload-hdrs cnt64,ts";
    let SimCommand::Pub(args) = sim(line) else { panic!("{line}") };
    let load = &args.load;
    assert_eq!((load.host.as_str(), load.port, load.mqtt_version), ("b", 8883, 4));
    assert_eq!((load.count, load.startnumber, load.interval, load.connrate), (7, 3, 20, 50));
    assert_eq!((load.keepalive, load.clean, load.session_expiry), (5, false, 60));
    assert_eq!((load.ssl, load.ws, load.ifaddr.len()), (true, true, 2));
    assert_eq!(load.cacertfile.as_deref(), Some(std::path::Path::new("ca")));
    assert_eq!((args.topic.len(), args.size, args.qos, args.retain), (2, 9, 1, true));
    assert_eq!((args.interval_of_msg, args.limit), (8, 40));
    assert!(args.wait_before_publishing && args.shortids && args.payload_hdrs.len() == 2);
    let SimCommand::Conn(args) = sim("tessera sim conn -s -c 2") else { panic!("no conn") };
    let load = args.load;
    assert!(args.shortids && load.clean && !load.ssl && load.mqtt_version == 5);
    assert_eq!((load.host.as_str(), load.port, load.keepalive), ("localhost", 1883, 300));
}
