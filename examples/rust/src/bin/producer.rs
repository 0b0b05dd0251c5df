//! Posts to the threads of a forum: cargo run --bin producer [posts]
//!
//! - `REDIS_URL`: where the server is, redis://localhost:6379
//! - `EVQ_RUN`: names this run: its posts get tokens, so a second start appends none twice
//! - `EVQ_IN_MS`: schedules each post so many milliseconds ahead

use std::env::var;
use std::time::{Duration, SystemTime};

use evq::{About, Error, Options, Queue};

#[tokio::main]
async fn main() -> Result<(), evq::Failure> {
    let url = var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());
    let queue = Queue::new(&url, Options::default())?;
    let posts = std::env::args().nth(1).map_or(Ok(10), |posts| posts.parse())?;
    for n in 0..posts {
        let key = format!("thread:{}", n % 3); // events of one key stay in order
        let (partition, id) = post(&queue, &key, n).await?;
        println!("{partition} {id} {key}");
    }
    Ok(())
}

async fn post(queue: &Queue, key: &str, n: u32) -> Result<(i64, String), Error> {
    let payload = format!(r#"{{"post":{n},"text":"Hello"}}"#);
    let unique = var("EVQ_RUN").ok().map(|run| format!("{run}:{n}"));
    let about = About { unique, ..About::of_type("PostCreated") };
    let ahead = var("EVQ_IN_MS").ok().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    loop {
        let outcome = match ahead {
            Some(ahead) => {
                queue.schedule(SystemTime::now() + ahead, key, payload.as_bytes(), &about).await
            }
            None => queue.trigger(key, payload.as_bytes(), &about).await,
        };
        match outcome {
            Err(Error::Full) => {
                eprintln!("full: waiting");
                // The workers are behind; nothing was written.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}
