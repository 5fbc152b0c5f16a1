//! A PostgreSQL of our own: made once for all tests of this process, gone when it ends.
//!
//! Always holds: the server ends with the tests, however they end. A shell starts it and reads
//! from a pipe that only this process holds open; when that closes, the shell stops the server
//! and takes its files away. It keeps what it acknowledged, as those it stands for do: `fsync`
//! is on. Each test has a schema of its own.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

/// Where distributions put programs that are in nobody's path.
const PLACES: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// How long a server may take to answer for the first time.
const START_TRIES: u32 = 600;
const START_PAUSE: Duration = Duration::from_millis(50);

/// Runs the server until standard input ends. Not the first argument of the shell: its name.
const WATCH: &str = "program=$1; files=$2; \
    \"$program\" -D \"$files/data\" -k \"$files\" -c listen_addresses= -c max_connections=200 \
        -c shared_buffers=64MB -c max_wal_size=256MB >\"$files/log\" 2>&1 </dev/null & \
    server=$!; cat >/dev/null; kill -QUIT $server; wait $server; rm -rf \"$files\"";

/// A running server.
pub(crate) struct Server {
    files: PathBuf,
    /// Open as long as this process runs.
    _watched: ChildStdin,
}

/// The server of this process; started by the first test that asks.
pub(crate) async fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(Server::start);
    server.answers().await;
    server
}

impl Server {
    fn start() -> Self {
        let programs = programs();
        let files = tempfile::Builder::new().prefix("earmark-pg").tempdir().unwrap().keep();
        // The server refuses to run as root.
        let user = is_root(&files).then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(&files, Some(uid), Some(gid)).unwrap();
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&files);
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = command(&programs.join("initdb"))
            .args(["--username=earmark", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "-D"])
            .arg(files.join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut watcher = command(Path::new("/bin/sh"))
            .args(["-c", WATCH, "watch"])
            .args([&programs.join("postgres"), &files])
            // Out of reach of what a terminal sends to all at once.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _watched: watcher.stdin.take().unwrap(), files }
    }

    async fn answers(&self) {
        for _ in 0..START_TRIES {
            if tokio_postgres::connect(&self.url_of("postgres"), NoTls).await.is_ok() {
                return;
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        let log = fs::read_to_string(self.files.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not start: {log}");
    }

    /// Where its socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.files.join(".s.PGSQL.5432")
    }

    fn url_of(&self, database: &str) -> String {
        let host = self.files.to_str().unwrap().replace('/', "%2F");
        format!("postgres://earmark@{host}/{database}")
    }

    /// A URL with that schema.
    pub(crate) fn url(&self, schema: &str) -> String {
        format!("{}?schema={schema}", self.url_of("postgres"))
    }

    /// A connection for a test that looks, or does, what a store does not.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url_of("postgres"), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// A name of a schema that no other test has.
pub(crate) fn new_schema() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The directory with `initdb` and `postgres`: that in the path, else the newest there is.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for place in PLACES {
        let versions = fs::read_dir(place).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|version| version.path()).collect();
        versions.sort();
        places.extend(versions.into_iter().rev().map(|version| version.join("bin")));
    }
    let has_all = |place: &PathBuf| {
        let is_program = |name| {
            let file = fs::metadata(place.join(name));
            file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        is_program("initdb") && is_program("postgres")
    };
    let found = places.into_iter().find(has_all);
    found.expect("these tests start a PostgreSQL: install it (Debian: apt install postgresql)")
}

/// Whether what we make belongs to root.
fn is_root(made: &Path) -> bool {
    File::open(made).and_then(|file| file.metadata()).is_ok_and(|made| made.uid() == 0)
}

/// Somebody who is not root.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    find("postgres").or_else(|| find("nobody")).expect("root has nobody to run PostgreSQL as")
}
