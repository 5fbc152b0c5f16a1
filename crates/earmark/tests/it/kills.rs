//! `kill -9` at random instants: nothing that was acknowledged is lost, nothing counts twice.
//!
//! `EARMARK_KILLS=1000 cargo test -p earmark --test it kills` makes a heavy run of it, and
//! `EARMARK_KILLS_SEED` repeats the choices of another one (not its timing).

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;

use crate::auditor::{Audit, Store, Tally};
use crate::dice::Dice;
use crate::load::{CONFIG, Load, TENANTS};
use crate::running::{Running, configured, data, verify_clean};

/// Kills of one data directory, before a fresh one is taken: audits read all of it each time.
const KILLS_PER_DIRECTORY: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_at_any_instant_loses_nothing_acknowledged() {
    let kills = std::env::var("EARMARK_KILLS").ok().and_then(|text| text.parse().ok());
    let mut left: u64 = kills.unwrap_or(30);
    let mut dice = Dice::from_env("EARMARK_KILLS_SEED");
    let (mut all, mut killed, mut killed_starting) = (Tally::default(), 0, 0);
    while left > 0 {
        let directory = configured(CONFIG);
        let mut audit = Audit::default();
        let in_this = left.min(KILLS_PER_DIRECTORY);
        for _ in 0..in_this {
            killed_starting += kill_while_starting(directory.path(), &mut dice);
            let server = Running::start(directory.path());
            audited(&mut audit, &server, directory.path()).await;
            let load = Load::start(&server.api, &audit.ids, &mut dice);
            tokio::time::sleep(Duration::from_millis(dice.between(20, 700))).await;
            server.kill();
            audit.add(load.ended().await);
            killed += 1;
        }
        let server = Running::start(directory.path());
        audited(&mut audit, &server, directory.path()).await;
        // What the repeated requests were told is audited, too.
        let tally = audit.check(&Store::read(&server.api).await);
        // Short holds expire all the while, and each adds entries.
        let before = entries(&server).await;
        let verified = verify_clean(directory.path());
        let after = entries(&server).await;
        assert!((before..=after).contains(&verified), "{before} {verified} {after}");
        server.stop();
        all.acknowledged += tally.acknowledged;
        all.refused += tally.refused;
        all.unanswered_done += tally.unanswered_done;
        left -= in_this;
    }
    eprintln!(
        "{killed} kills under load and {killed_starting} while starting; audited {} done and {} \
         refused requests",
        all.acknowledged, all.refused
    );
    assert!(all.refused > 0, "the load exhausted no limit");
}

/// Audits a store that was just opened, then repeats what had no answer.
async fn audited(audit: &mut Audit, server: &Running, directory: &Path) {
    for (tenant, plan) in TENANTS.into_iter().filter(|(_, plan)| !plan.is_empty()) {
        server.api.tenant(tenant, plan).await;
    }
    verify_clean(directory);
    let store = Store::read(&server.api).await;
    let tally = audit.check(&store);
    eprintln!("{tally:?}");
    audit.repeat_unanswered(&server.api, &store).await;
}

/// Kills a server on its way up, sometimes: recovery and migration can be cut short, too.
fn kill_while_starting(directory: &Path, dice: &mut Dice) -> u64 {
    if dice.percent(60) {
        return 0;
    }
    let mut child = Running::spawn(directory, |_| ());
    std::thread::sleep(Duration::from_millis(dice.below(80)));
    child.kill().unwrap();
    child.wait().unwrap();
    1
}

/// Entries of all tenants, as the API lists them.
async fn entries(server: &Running) -> i64 {
    let mut count = 0;
    let tenants = server.api.get("/v1/tenants?count=200").await;
    for tenant in tenants["tenants"].as_array().unwrap() {
        let mut cursor = String::new();
        loop {
            let path =
                format!("/v1/tenants/{}/entries?count=200", tenant["tenant"].as_str().unwrap());
            let page = server.api.get(&format!("{path}{cursor}")).await;
            count += page["entries"].as_array().unwrap().len() as i64;
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    count
}

/// The auditor itself: it must notice what a store that forgets or repeats would do.
#[tokio::test(flavor = "multi_thread")]
async fn the_auditor_notices_what_was_changed_behind_its_back() {
    let directory = configured(CONFIG);
    let mut dice = Dice::from_env("EARMARK_KILLS_SEED");
    let mut audit = Audit::default();
    let server = Running::start(directory.path());
    let load = Load::start(&server.api, &audit.ids, &mut dice);
    tokio::time::sleep(Duration::from_millis(500)).await;
    audit.add(load.ended().await);
    audit.check(&Store::read(&server.api).await);
    server.stop();
    let path = data(directory.path()).join("earmark.db");
    let whole = std::fs::read(&path).unwrap();
    let changes = [
        "DELETE FROM entry WHERE kind = 'charge'",
        "DELETE FROM entry WHERE kind = 'grant'",
        "DELETE FROM hold WHERE state = 'settled'",
        "UPDATE hold SET state = 'open', outcome = NULL WHERE state = 'released'",
        "UPDATE entry SET amount = amount + 1 WHERE kind = 'settle'",
        "UPDATE counter SET used = used + 1 WHERE limit_name = 'attempts/lifetime'",
        "UPDATE counter SET used = used + 40 WHERE limit_name = 'ai_messages/lifetime'",
    ];
    for change in changes {
        std::fs::write(&path, &whole).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute(change, []).unwrap();
        let server = Running::start(directory.path());
        // A released hold that is open again may be due by now: then the server itself finds
        // the broken invariant and refuses to read.
        let checked = async { audit.check(&Store::read(&server.api).await) };
        let checked = std::panic::AssertUnwindSafe(checked).catch_unwind().await;
        assert!(checked.is_err(), "not noticed: {change}");
        server.stop();
    }
}
