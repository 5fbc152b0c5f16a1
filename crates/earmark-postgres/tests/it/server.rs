//! A PostgreSQL of the tests' own: made in a temporary directory, on a socket in it, gone with
//! the process.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How long a server may take to answer for the first time.
const START_MAX: Duration = Duration::from_secs(60);

/// Durable as in production; small, since many run beside each other.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 300
shared_buffers = 64MB
log_min_messages = fatal
max_wal_size = 256MB
";

/// A running server.
pub(crate) struct Server {
    /// Where its socket is.
    directory: PathBuf,
    /// Ends with its standard input, so with this process, however that ends.
    _watch: Child,
}

impl Server {
    /// The server of this process.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    /// Where a store of its own is: a schema that nobody has.
    pub(crate) fn url(&self) -> String {
        let schema = format!("t{}", uuid::Uuid::now_v7().simple());
        let host = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/postgres?schema={schema}")
    }

    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("earmark-pg-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let user = user();
        if let Some((uid, gid)) = user {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        let (bin, data) = (binaries(), directory.join("data"));
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.arg("--pgdata").arg(&data).stdout(Stdio::null()).stderr(Stdio::inherit());
        assert!(as_user(&mut initdb, user).status().unwrap().success(), "initdb");
        let configuration = data.join("postgresql.conf");
        let all = fs::read_to_string(&configuration).unwrap() + SETTINGS;
        fs::write(&configuration, all).unwrap();
        // The shell ends the server when nobody holds the other end of its input any more.
        let script =
            r#""$0" -D "$1" -k "$2" </dev/null & cat >/dev/null; kill -INT $!; wait; rm -rf "$2""#;
        let mut watch = Command::new("sh");
        watch.args(["-c", script]).arg(bin.join("postgres")).arg(&data).arg(&directory);
        // Out of reach of what a terminal sends to all of us at once: it has files to take away.
        watch.current_dir(&directory).stdin(Stdio::piped()).process_group(0);
        watch.stdout(Stdio::null()).stderr(Stdio::null());
        let watch = as_user(&mut watch, user).spawn().unwrap();
        let server = Self { directory, _watch: watch };
        server.wait(&bin);
        server
    }

    fn wait(&self, bin: &Path) {
        let pause = Duration::from_millis(50);
        for _ in 0..START_MAX.as_millis() / pause.as_millis() {
            let mut ready = Command::new(bin.join("pg_isready"));
            ready.arg("-q").arg("-h").arg(&self.directory);
            if ready.status().unwrap().success() {
                return;
            }
            std::thread::sleep(pause);
        }
        panic!("PostgreSQL does not start");
    }
}

/// Root may not run PostgreSQL: then the user that its package made, or nobody.
fn user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |user: &str| id(&["-u", user]).zip(id(&["-g", user]));
    of("postgres").or_else(|| of("nobody"))
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    match user {
        Some((uid, gid)) => command.uid(uid).gid(gid),
        None => command,
    }
}

/// Debian keeps `initdb` off the path.
fn binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<_> = packaged.map(|version| version.path().join("bin")).collect();
    packaged.sort();
    let initdb = std::env::split_paths(&on_path)
        .chain(packaged.into_iter().rev())
        .map(|directory| directory.join("initdb"))
        .find(|initdb| initdb.exists())
        .unwrap_or_else(|| panic!("no initdb: install postgresql, as `cargo xtask test` does"));
    // On the path there may be a link to it, and to none of the others.
    fs::canonicalize(initdb).unwrap().parent().unwrap().to_owned()
}
