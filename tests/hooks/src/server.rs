//! Real servers as child processes: in a folder of their own, on private ports, gone with the test.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Says that a test is skipped and why, past the test harness's capture. Where `CI=true`, that is a failure.
pub fn skip(missing: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "missing: {missing}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing} is missing");
}

/// As many descriptors as the system lets us have: two for each operation, and some.
pub fn raise_descriptor_limit(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place to write to.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    assert!(limit.rlim_cur >= wanted, "{wanted} descriptors are needed, the hard limit is {}", limit.rlim_cur);
}

/// A server. Dropping it ends it and removes its folder.
pub struct Server {
    child: Child,
    /// What ends it in order.
    end: libc::c_int,
    folder: TempDir,
    /// Its TCP port; 0 if it has none.
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server says: {}", self.log());
        }
        // SAFETY: a child that has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), self.end) };
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A program in PATH or in one of the folders, which are sorted and of which the last one counts.
fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(["/usr/sbin".into()]).chain(folders.iter().rev().cloned());
    all.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Server {
    fn start(mut command: Command, folder: TempDir, port: u16, up: impl Fn(&Path) -> bool) -> Option<Server> {
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a double")).stderr(log);
        // SAFETY: prctl is a plain system call.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT);
                Ok(())
            });
        }
        let child = command.spawn().expect("the server's program runs");
        // To a PostgreSQL postmaster it is the fast shutdown: its children end with it.
        let mut server = Server { child, end: libc::SIGINT, folder, port };
        let begun = Instant::now();
        while !up(server.folder.path()) {
            if server.child.try_wait().expect("a child").is_some() {
                return None;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not come up: {}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }

    /// As [`Server::start`], with another port if somebody else got hold of that one.
    fn start_on_port(make: impl Fn(&Path, u16) -> Command) -> Server {
        for _ in 0..5 {
            let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
            let command = make(folder.path(), port);
            let up = |_: &Path| TcpStream::connect(("127.0.0.1", port)).is_ok();
            if let Some(server) = Server::start(command, folder, port, up) {
                return server;
            }
        }
        panic!("the server ends at once, on five ports");
    }

    fn log(&self) -> String {
        ["log", "error"].map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()).concat()
    }

    /// Redis, with nothing on disk.
    pub fn redis(clients: usize) -> Option<Server> {
        let Some(program) = find("redis-server", &[]) else {
            skip("redis-server (Debian package redis-server)");
            return None;
        };
        Some(Server::start_on_port(|folder, port| {
            let mut command = Command::new(&program);
            command.current_dir(folder).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.args(["--port", &port.to_string(), "--maxclients", &clients.to_string(), "--tcp-backlog", "2048"]);
            command
        }))
    }

    /// nginx, as a proxy for what listens on the port `upstream`. When it runs short of `connections` it drops idle ones.
    pub fn nginx(upstream: u16, connections: usize) -> Option<Server> {
        let Some(program) = find("nginx", &[]) else {
            skip("nginx (Debian package nginx-light)");
            return None;
        };
        Some(Server::start_on_port(|folder, port| {
            let at = folder.display();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .iter()
                .map(|kind| format!("{kind}_temp_path {at}/{kind}; "))
                .collect();
            let settings = format!(
                "daemon off; master_process off; pid {at}/pid; error_log {at}/error;\n\
                 events {{ worker_connections {connections}; }}\n\
                 http {{ access_log off; {temporary}\n\
                 server {{ listen 127.0.0.1:{port} backlog=2048;\n\
                 location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_read_timeout 120s; }} }} }}\n"
            );
            let file = folder.join("nginx.conf");
            fs::write(&file, settings).expect("settings");
            let mut command = Command::new(&program);
            command.arg("-p").arg(folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error"));
            command
        }))
    }

    /// MariaDB on a socket in its folder, without passwords; and the socket's path.
    pub fn mariadb(connections: usize) -> Option<(Server, String)> {
        let [Some(install), Some(mariadbd)] = ["mariadb-install-db", "mariadbd"].map(|program| find(program, &[]))
        else {
            skip("mariadb-install-db, mariadbd (Debian package mariadb-server)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let (data, socket) = (folder.path().join("data"), folder.path().join("socket"));
        // SAFETY: a plain system call.
        let user = (unsafe { libc::geteuid() } == 0).then(nobody);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may");
        }
        let as_user = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(folder.path()).arg("--no-defaults").arg(format!("--datadir={}", data.display()));
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = as_user(&install).args(["--skip-test-db", "--auth-root-authentication-method=normal"]).output();
        let made = made.expect("mariadb-install-db runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let mut command = as_user(&mariadbd);
        command.args(["--skip-networking", "--skip-grant-tables", "--innodb-flush-log-at-trx-commit=0"]);
        command.arg(format!("--socket={}", socket.display())).arg(format!("--max-connections={connections}"));
        command.arg(format!("--pid-file={}", folder.path().join("pid").display()));
        let mut server = Server::start(command, folder, 0, |folder| UnixStream::connect(folder.join("socket")).is_ok())
            .expect("MariaDB comes up");
        server.end = libc::SIGTERM;
        Some((server, socket.display().to_string()))
    }

    /// PostgreSQL on a socket in its folder; and the connection string.
    pub fn postgres(connections: usize) -> Option<(Server, String)> {
        let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        folders.sort();
        let programs = ["initdb", "postgres"].map(|program| find(program, &folders));
        let [Some(initdb), Some(postgres)] = programs else {
            skip("initdb, postgres (Debian package postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        // It refuses to run as root.
        // SAFETY: a plain system call.
        let user = (unsafe { libc::geteuid() } == 0).then(nobody);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may");
        }
        let as_user = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(folder.path());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = as_user(&initdb)
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--no-locale", "--encoding=UTF8", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut command = as_user(&postgres);
        command.arg("-D").arg(&data).arg("-k").arg(folder.path()).args(["-h", "", "-c", "fsync=off"]);
        command.args(["-c", "shared_buffers=16MB", "-c", "autovacuum=off", "-c", "jit=off"]);
        command.arg("-c").arg(format!("max_connections={connections}"));
        let up = |folder: &Path| {
            UnixStream::connect(folder.join(".s.PGSQL.5432")).is_ok()
                && fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains("ready to accept connections"))
        };
        let server = Server::start(command, folder, 0, up).expect("PostgreSQL comes up");
        let place = format!("host={} user=postgres dbname=postgres", server.folder.path().display());
        Some((server, place))
    }
}

/// A user without rights, with an entry in the user database, which initdb wants.
fn nobody() -> (u32, u32) {
    // SAFETY: a terminated name; the entry is read at once, and no other thread asks for one.
    let entry = unsafe { libc::getpwnam(c"nobody".as_ptr()).as_ref() }.expect("there is a user nobody");
    (entry.pw_uid, entry.pw_gid)
}
