//! Whole runs against small servers that stall, refuse to answer, or hang up.
//!
//! Real time, but no upper bound on it: a busy machine makes latencies longer and never
//! shorter than what the server's own pause makes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use earmark_core::MeterName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, sleep_until};

use crate::connection::Connection;
use crate::desk::Desk;
use crate::endpoint::Endpoint;
use crate::null::request;
use crate::report::Report;
use crate::run::{Load, Shared, Stop, carry_out, run};
use crate::schedule::Arrivals;
use crate::tally::Tally;
use crate::target::Target;
use crate::tenants::{Spread, Tenants};

/// How a server answers the requests of a connection.
#[derive(Clone)]
enum Behaviour {
    /// All of them once this long has passed since the first one came, and at once later.
    StallsOnce(Duration, Arc<OnceCell<Instant>>),
    /// None.
    NeverAnswers,
    /// One, and hangs up.
    HangsUp,
}

async fn serve(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket, behaviour.clone()));
        }
    });
    address
}

async fn answer(mut socket: TcpStream, behaviour: Behaviour) {
    let mut buffer = Vec::new();
    while socket.read_buf(&mut buffer).await.is_ok_and(|bytes| 0 < bytes) {
        let is_whole = request(&buffer).is_some_and(|(bytes, _)| bytes <= buffer.len());
        if !is_whole {
            continue;
        }
        buffer.clear();
        match &behaviour {
            Behaviour::StallsOnce(pause, first) => {
                let first = *first.get_or_init(|| async { Instant::now() }).await;
                sleep_until(first + *pause).await;
            }
            Behaviour::NeverAnswers => std::future::pending().await,
            Behaviour::HangsUp => {}
        }
        let reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let sent = socket.write_all(reply.as_bytes()).await;
        if sent.is_err() || matches!(behaviour, Behaviour::HangsUp) {
            return;
        }
    }
}

fn load(rate: u32, duration_ms: u64) -> Load {
    Load {
        rate,
        arrivals: Arrivals::Constant,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(duration_ms),
        connections: 1,
        in_flight_max: 1_000,
        wait_max: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        seed: 1,
        calibration: None,
    }
}

fn chats() -> Target {
    Target::Gateway { model: "m".to_owned(), prompt: "p".to_owned(), streams: false }
}

fn tenants() -> Tenants {
    Tenants::new("bench-", 3, Spread::Uniform).unwrap()
}

async fn report(load: &Load, behaviour: Behaviour, stop: &Stop) -> Report {
    let endpoint = Endpoint::at(serve(behaviour).await, "key");
    run(load, &endpoint, &chats(), &tenants(), stop, |_| ()).await.unwrap()
}

fn assert_adds_up(report: &Report) {
    let arrivals = report.counts.arrivals;
    assert_eq!(arrivals.planned, arrivals.dropped + arrivals.sent, "{report:?}");
    let counts = report.counts;
    assert_eq!(arrivals.sent, counts.done + counts.denied + counts.failed, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_would_have_come_during_a_stall_has_waited_for_its_end() {
    let stall_ms = 500;
    // 50 arrivals, 10 ms apart, all of them planned before the stall is over.
    let load = load(100, stall_ms);
    for connections in [1, 4] {
        let load = Load { connections, ..load.clone() };
        let behaviour =
            Behaviour::StallsOnce(Duration::from_millis(stall_ms), Arc::new(OnceCell::new()));
        let shared = Arc::new(Shared {
            endpoint: Endpoint::at(serve(behaviour).await, "key"),
            target: chats(),
            tenants: tenants(),
            desk: Desk::new(load.connections, load.in_flight_max, load.wait_max),
            tally: Mutex::new(Tally::new().unwrap()),
            load,
        });
        let ran = carry_out(&shared, &Stop::default(), |_| ()).await.unwrap();
        let report = shared.report(&ran);
        assert_adds_up(&report);
        assert_eq!((report.counts.done, report.counts.arrivals.dropped), (50, 0), "{report:?}");
        let tally = shared.tally.lock().unwrap();
        // The stall begins when the first request comes, no earlier than it was planned; so the
        // k-th waits for at least the rest of it, less what buckets of 0.1 % round off.
        for arrivals in 1..=50 {
            let rest = Duration::from_millis(stall_ms - 10 * (arrivals - 1)).mul_f64(0.998);
            let waited = tally.latency.count_from(rest);
            assert!(arrivals <= waited, "{waited} of {arrivals} waited {rest:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_that_never_answers_is_asked_is_dropped_or_failed() {
    let load = Load {
        connections: 2,
        in_flight_max: 10,
        wait_max: Duration::from_millis(50),
        timeout: Duration::from_millis(200),
        ..load(1_000, 300)
    };
    let report = report(&load, Behaviour::NeverAnswers, &Stop::default()).await;
    assert_adds_up(&report);
    assert_eq!(report.counts.arrivals.planned, 300);
    // A connection can begin calls at 0 and 200 ms; at 400 ms all have waited for too long.
    assert!(report.counts.failed <= 4, "{report:?}");
    assert!(report.failures.keys().all(|what| what == "no reply in time"), "{report:?}");
    assert!(report.latency.latency.is_none() && report.counts.done == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_server_has_closed_is_made_anew() {
    let report = report(&load(100, 100), Behaviour::HangsUp, &Stop::default()).await;
    assert_adds_up(&report);
    // At worst, every second one crosses the server's farewell.
    assert!(5 <= report.counts.done, "{report:?}");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_not_used() {
    let endpoint = Endpoint::at(serve(Behaviour::HangsUp).await, "key");
    let mut connection = Connection::open(&endpoint, Duration::from_secs(60)).await.unwrap();
    assert!(connection.is_usable());
    assert_eq!(connection.post("/", "").await.unwrap().body, "{}");
    while connection.is_usable() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_an_error_before_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::at(listener.local_addr().unwrap(), "key");
    drop(listener);
    let ran = run(&load(1, 100), &endpoint, &chats(), &tenants(), &Stop::default(), |_| ()).await;
    let told = ran.unwrap_err().to_string();
    assert!(told.contains("cannot connect"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_tells_what_there_was() {
    let stop = Stop::default();
    let asking = stop.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(200)).await;
        asking.ask();
    });
    let behaviour = Behaviour::StallsOnce(Duration::ZERO, Arc::new(OnceCell::new()));
    let report = report(&load(100, 3_600_000), behaviour, &stop).await;
    assert_adds_up(&report);
    assert!(report.is_stopped_early);
    assert!((1..1_000).contains(&report.counts.done), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_the_generator_reaches_a_rate_that_any_machine_can() {
    // A calibration lasts for a second at least.
    let load = load(50, 100);
    let meter = MeterName::new("m").unwrap();
    let targets = [
        Target::Api { meter: meter.clone() },
        Target::Batch { meter, size: 7 },
        chats(),
        Target::Gateway { model: "m".to_owned(), prompt: "p".to_owned(), streams: true },
    ];
    for target in targets {
        let load = Load { connections: 3, ..load.clone() };
        let stop = Stop::default();
        let alone = crate::calibrate(&load, &target, &tenants(), &stop).await.unwrap();
        assert_eq!((alone.dropped, alone.latency.unwrap().count), (0, 50), "{target:?}");
    }
}
