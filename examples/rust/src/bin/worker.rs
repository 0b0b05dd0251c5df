//! Handles the posts of a forum until SIGTERM or SIGINT: cargo run --bin worker
//!
//! - `REDIS_URL`: where the server is, redis://localhost:6379
//! - `EVQ_GROUP`: the group to work for, default
//! - `EVQ_WORKERS`: workers in this process, 1
//! - `EVQ_LEASE_MS`: how long a worker may be silent, 30000
//! - `EVQ_SOURCE`: a partition, instead of any
//!
//! A post like {"ms": 500, "fails": 1} takes half a second and fails once.

use std::env::var;
use std::io::Write as _;
use std::time::Duration;

use evq::{Event, Failure, Options, Queue};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let setting = |name, default: &str| var(name).unwrap_or_else(|_| default.to_owned());
    let options = Options {
        group: setting("EVQ_GROUP", "default"),
        source: setting("EVQ_SOURCE", "*"),
        lease: Duration::from_millis(setting("EVQ_LEASE_MS", "30000").parse()?),
        ..Options::default()
    };
    let queue = Queue::new(&setting("REDIS_URL", "redis://localhost:6379"), options)?;
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, queue) = (signal(kind)?, queue.clone());
        tokio::spawn(async move {
            signals.recv().await;
            queue.stop();
        });
    }
    queue.work(setting("EVQ_WORKERS", "1").parse()?, handle).await?;
    Ok(())
}

/// May see an event again, after a crash: it must bear that.
async fn handle(event: Event) -> Result<(), Failure> {
    let post: serde_json::Value = serde_json::from_slice(&event.payload)?;
    tokio::time::sleep(Duration::from_millis(post["ms"].as_u64().unwrap_or(0))).await;
    if u64::from(event.attempt) <= post["fails"].as_u64().unwrap_or(0) {
        return Err("not yet".into());
    }
    let Event { partition, epoch, id, attempt, key, payload, .. } = event;
    let mut line = format!("{partition} {epoch} {id} {attempt} {key} ").into_bytes();
    line.extend(payload);
    line.push(b'\n');
    // One write, for several workers may share the output.
    std::io::stdout().write_all(&line)?;
    Ok(())
}
