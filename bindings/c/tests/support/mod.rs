//! The compilers, the installed library, and daemons for the programs to talk to.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lattice_cluster::binaries::Binaries;
use lattice_cluster::environment::require;
use lattice_cluster::process::Process;
use lattice_cluster::{Daemon, Ready};
use tempfile::TempDir;

/// Far more than anything here takes: a program that takes so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

const WARNINGS: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"];
const COMPILERS: [&str; 2] = ["gcc", "clang"];

/// Compilers, and the library installed in a directory of its own.
pub struct Toolbox {
    home: TempDir,
}

/// A running program.
pub struct Running {
    pub process: Process,
}

impl Toolbox {
    /// `None`, after saying why, if a tool is missing.
    pub fn find() -> Option<Toolbox> {
        let mut tools = COMPILERS.iter().chain(&["valgrind", "pkg-config", "ldd"]);
        let there = |tool: &&str| {
            let found = Command::new(tool).arg("--version").output();
            found.map(drop).map_err(|error| format!("no {tool} ({error}); `make deps` brings one"))
        };
        if !require(&tools.try_for_each(there)) {
            return None;
        }
        let tools = Toolbox { home: tempfile::tempdir().expect("a directory") };
        tools.must(
            Command::new(manifest().join("install.sh"))
                .arg(built())
                .arg(tools.prefix())
                .env_remove("DESTDIR"),
        );
        Some(tools)
    }

    fn prefix(&self) -> PathBuf {
        self.home.path().join("prefix")
    }

    /// The installed header.
    pub fn header(&self) -> PathBuf {
        self.prefix().join("include/latticed.h")
    }

    /// What pkg-config says.
    fn flags(&self, is_static: bool) -> Vec<String> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.prefix().join("lib/pkgconfig")).args(["--cflags", "--libs"]);
        if is_static {
            command.arg("--static");
        }
        let said = String::from_utf8(command.arg("latticed").output().expect("pkg-config runs").stdout);
        let mut flags: Vec<String> =
            said.expect("UTF-8").split_ascii_whitespace().map(str::to_owned).collect();
        assert!(flags.contains(&"-llatticed".to_owned()), "{flags:?}");
        if is_static {
            let library = flags.iter_mut().find(|flag| *flag == "-llatticed").expect("it is there");
            *library = "-l:liblatticed.a".to_owned();
        }
        flags
    }

    /// Compiles a program of this crate.
    pub fn compile(&self, compiler: &str, source: &str, is_static: bool) -> PathBuf {
        let name = Path::new(source).file_stem().expect("a name").to_string_lossy();
        let program = self.home.path().join(format!("{name}-{compiler}"));
        let mut command = Command::new(compiler);
        command.args(WARNINGS).args(["-g", "-pthread", "-o"]).arg(&program).arg(manifest().join(source));
        self.must(command.args(self.flags(is_static)));
        program
    }

    /// The ways in which a program is run: as each compiler made it, and the first under valgrind.
    pub fn each_way(&self, source: &str) -> Vec<Command> {
        let mut programs: Vec<PathBuf> =
            COMPILERS.iter().map(|compiler| self.compile(compiler, source, false)).collect();
        let mut ways: Vec<Command> = programs.iter().map(Command::new).collect();
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--track-origins=yes"]);
        valgrind.args(["--errors-for-leak-kinds=definite,indirect,possible", "--fair-sched=yes"]);
        valgrind.arg(programs.swap_remove(0));
        ways.push(valgrind);
        ways
    }

    /// Runs a command that must succeed without a word of warning.
    pub fn must(&self, command: &mut Command) {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
    }

    /// Starts a program, which finds the library where it is installed.
    pub fn spawn(&self, mut command: Command) -> Running {
        command.env("LD_LIBRARY_PATH", self.prefix().join("lib"));
        Running { process: Process::spawn("program", command, self.home.path()).expect("it starts") }
    }
}

impl Running {
    /// What it says next.
    pub fn line(&mut self) -> String {
        self.process.next_line(PATIENCE).expect("a line")
    }

    /// Tells it that what it waits for is done.
    pub fn go_on(&mut self) {
        self.process.write_line("go on").expect("it reads");
    }
}

/// A program's end: it says that it is done, and succeeds.
pub fn end(mut running: Running) {
    assert_eq!(running.line(), "done");
    let status = running.process.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}: {}", running.process.log_tail());
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put the libraries: beside the tests.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    test.parent().expect("its directory").to_owned()
}

/// A host of a cluster of one or two, on loopback.
pub struct Node {
    id: u16,
    home: TempDir,
    daemon: Option<Daemon>,
}

impl Node {
    /// A cluster of one, running, with room for so many keys.
    pub fn start(id: u16, cells: u32) -> Node {
        let mut node = Node::configured(id, &[], free_base_port(&[id]), cells);
        node.run();
        node
    }

    /// A cluster of two; neither runs yet.
    pub fn pair() -> [Node; 2] {
        let base_port = free_base_port(&[1, 2]);
        [Node::configured(1, &[2], base_port, 4096), Node::configured(2, &[1], base_port, 4096)]
    }

    fn configured(id: u16, peers: &[u16], base_port: u16, cells: u32) -> Node {
        let home = tempfile::tempdir().expect("a directory");
        let peers: String =
            peers.iter().map(|id| format!("[[peers]]\nid = {id}\naddress = \"127.0.0.{id}\"\n")).collect();
        let text = format!(
            "[cluster]\nname = \"c\"\n[node]\nid = {id}\nname = \"host-{id}\"\n[network]\naddress = \"127.0.0.{id}\"\n\
             base_port = {base_port}\nport = \"udp\"\n[workers]\nidle = \"sleep\"\n[paths]\ndirectory = \"{home}/run\"\n\
             [storage]\ndirectory = \"{home}/data\"\n[limits]\nsegment_cells_per_worker = {cells}\n\
             segment_extent_bytes_per_worker = 1048576\n[timers]\nsegment_heartbeat_timeout_ms = 60000\n{peers}",
            home = home.path().display()
        );
        std::fs::write(home.path().join("latticed.toml"), text).expect("written");
        Node { id, home, daemon: None }
    }

    /// Starts its daemon and waits until it is ready.
    pub fn run(&mut self) {
        let latticed = Binaries::find().and_then(|binaries| binaries.latticed()).expect("a daemon");
        let name = format!("host-{}", self.id);
        let config = self.home.path().join("latticed.toml");
        let mut daemon =
            Daemon::start(&name, Command::new(latticed), &config, self.home.path()).expect("it starts");
        daemon.wait_ready().expect("it is ready");
        self.daemon = Some(daemon);
    }

    pub fn kill(&mut self) {
        self.daemon.as_mut().expect("it runs").kill().expect("killed");
    }

    fn ready(&self) -> &Ready {
        self.daemon.as_ref().expect("it runs").ready().expect("it is ready")
    }

    pub fn socket(&self) -> &Path {
        &self.ready().socket
    }

    pub fn segment(&self) -> &Path {
        &self.ready().segment
    }
}

/// A place where four UDP ports in a row are free on each of the hosts' addresses; tests that run at the same time begin to
/// look at different places.
fn free_base_port(hosts: &[u16]) -> u16 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only that no two calls get the same.
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let first = std::process::id().wrapping_mul(31).wrapping_add(calls * 7);
    let base_of = |place: u32| 28_000 + u16::try_from(place % 1_000).expect("small") * 4;
    let free = |base: &u16| {
        let mut ports = *base..base + 4;
        ports.all(|port| hosts.iter().all(|id| UdpSocket::bind(format!("127.0.0.{id}:{port}")).is_ok()))
    };
    (first..first + 1_000).map(base_of).find(free).expect("free ports")
}
