//! The numbers of a load while it runs, for Prometheus: `GET /metrics` on an address of its own.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::limits;
use super::report::{stages, Stage};
use crate::report::Tally;

/// The listener; it ends when this is dropped.
pub struct Scrapes {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Scrapes {
    /// Answers on this address.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn start(at: SocketAddr, tally: Arc<Tally>) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        let permits = Arc::new(Semaphore::new(limits::SCRAPES));
        let task = tokio::spawn(async move {
            while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let tally = Arc::clone(&tally);
                tokio::spawn(async move {
                    // A reader that goes away or is slow loses its answer alone.
                    let _ = timeout(limits::SCRAPE, answer(socket, &tally)).await;
                    drop(permit);
                });
            }
        });
        Ok(Self { at, task })
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Scrapes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut socket: TcpStream, tally: &Tally) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > limits::REQUEST_BYTES || socket.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match head.starts_with(b"GET /metrics ") {
        true => ("200 OK", text(tally)),
        false => ("404 Not Found", "the path is /metrics\n".to_owned()),
    };
    let length = body.len();
    let kind = "text/plain; version=0.0.4";
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

/// All numbers, in the text format 0.0.4.
fn text(tally: &Tally) -> String {
    let mut out = String::new();
    let numbers = [
        ("devices_connected", "gauge", "Devices connected now", tally.online.get()),
        ("connections_total", "counter", "Connections made", tally.connections.get()),
        ("connections_lost_total", "counter", "Connections lost", tally.lost.get()),
        ("subscriptions_total", "counter", "Subscriptions granted", tally.subscribed.get()),
        ("published_total", "counter", "Messages published", tally.published.get()),
        ("acknowledged_total", "counter", "Messages acknowledged", tally.acknowledged.get()),
        ("received_total", "counter", "Messages received", tally.delivered.get()),
        ("refreshes_total", "counter", "Tokens renewed", tally.refreshes.get()),
    ];
    for (name, kind, help, value) in numbers {
        let _ = writeln!(
            out,
            "# HELP tessera_sim_{name} {help}\n# TYPE tessera_sim_{name} {kind}\ntessera_sim_{name} {value}"
        );
    }
    out.push_str("# HELP tessera_sim_failures_total Failures by code\n# TYPE tessera_sim_failures_total counter\n");
    for (code, count) in tally.failures_by_code() {
        // Codes are names of this program and of refusals; nothing else may break the line.
        let code: String =
            code.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
        let _ = writeln!(out, "tessera_sim_failures_total{{code=\"{code}\"}} {count}");
    }
    out.push_str("# HELP tessera_sim_stage_microseconds Time of a stage\n# TYPE tessera_sim_stage_microseconds summary\n");
    for Stage { name, micros, .. } in stages(tally) {
        let quantiles = [("0.5", micros.p50), ("0.9", micros.p90), ("0.99", micros.p99)];
        for (quantile, value) in quantiles {
            let _ = writeln!(
                out,
                "tessera_sim_stage_microseconds{{stage=\"{name}\",quantile=\"{quantile}\"}} {value}"
            );
        }
        let count = micros.count;
        let _ = writeln!(out, "tessera_sim_stage_microseconds_count{{stage=\"{name}\"}} {count}");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn ask(at: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn scrapes_have_the_counts_and_nothing_else_is_served() {
        let tally = Arc::new(Tally::default());
        tally.published.one();
        tally.failure("connect:not_authorized");
        tally.publish_latency.observe(Duration::from_micros(700));
        let any = "127.0.0.1:0".parse().unwrap();
        let scrapes = Scrapes::start(any, Arc::clone(&tally)).await.unwrap();
        let answer = ask(scrapes.at(), "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        for line in [
            "\ntessera_sim_published_total 1\n",
            "\ntessera_sim_failures_total{code=\"connect:not_authorized\"} 1\n",
            "\ntessera_sim_stage_microseconds{stage=\"publish to puback\",quantile=\"0.5\"} 700\n",
        ] {
            assert!(answer.contains(line), "{line}: {answer}");
        }
        assert!(ask(scrapes.at(), "/").await.starts_with("HTTP/1.1 404 "));
    }
}
