//! ioredis with its default settings, where every tenth reply gets lost: it sends the command again
//! by itself, and with a token that appends nothing.

use std::process::{Command, Stdio};

use crate::harness::{Endpoint, Fate, Proxy, Random, each_server, must, seed};
use crate::languages::program::directory;

const PRODUCERS: u64 = 10;
const EVENTS: u64 = 10_000;

const PRODUCER: &str = "
import Redis from 'ioredis';
const [path, producers, events] = process.argv.slice(1);
await Promise.all([...Array(+producers).keys()].map(async (producer) => {
    const client = new Redis(path);
    client.on('error', () => {});
    for (let n = 0; n < events / producers; n++) {
        await client.call('EVQ.TRIGGER', `${producer}:${n % 7}`, n, 'RING', 'lossy', 'UNIQUE', n);
    }
    client.disconnect();
}));
";

#[test]
fn ioredis_triggers_ten_thousand_events_once_each_though_it_repeats() {
    let Some(dir) = directory("node") else { return };
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "lossy", 4).ok();
        let mut random = Random::new(seed());
        let proxy = Proxy::start(server.endpoint(), move |command| match command {
            b"EVQ.TRIGGER" if random.one_in(10) => Fate::Close,
            _ => Fate::Pass,
        });
        let Endpoint::Unix(path) = proxy.endpoint() else { panic!("a unix socket") };
        let mut node = Command::new("node");
        node.args(["--input-type=module", "-e", PRODUCER]).arg(path).current_dir(&dir);
        node.args([PRODUCERS.to_string(), EVENTS.to_string()]).stdin(Stdio::null());
        let output = node.output().expect("node");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut last = std::collections::BTreeMap::<String, u64>::new();
        let mut events = 0;
        for p in 0..4 {
            for entry in must!(conn, "XRANGE", format!("evq:{{lossy:{p}}}"), "-", "+").array() {
                let key = entry.at(1).get("key").str().to_owned();
                let n = entry.at(1).get("payload").str().parse().unwrap();
                let before = last.insert(key, n);
                assert!(before.is_none_or(|before| before < n), "{n} behind {before:?}");
                events += 1;
            }
        }
        assert_eq!(events, EVENTS);
        let lost = proxy.chosen();
        assert!(lost > EVENTS / 20, "{lost} replies were lost");
        assert!(proxy.forwarded("EVQ.TRIGGER") >= EVENTS + lost, "and the commands sent again");
    });
}
