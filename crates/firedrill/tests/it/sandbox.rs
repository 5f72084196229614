//! Sandboxes come up whole, go away without a trace, and say what is in the way.

use crate::fleet::program;
use firedrill_sandbox::SandboxStatus;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A home of a test's own with the sandboxes in it, all taken down at its end. On a real disk, with a short path for
/// the unix sockets.
struct Ground {
    home: tempfile::TempDir,
    names: Vec<&'static str>,
}

impl Ground {
    fn new(names: &[&'static str]) -> Self {
        let home = tempfile::Builder::new().prefix("fd-").tempdir_in("/var/tmp").expect("a home");
        Self { home, names: names.to_vec() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env("FIREDRILL_HOME", self.home.path()).env_remove("FIREDRILL_SERVER");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    fn up(&self, name: &str) -> SandboxStatus {
        status_in(&self.run(&["sandbox", "up", "--json", "--name", name]))
    }

    fn status(&self, name: &str) -> SandboxStatus {
        status_in(&self.run(&["sandbox", "status", "--json", "--name", name]))
    }

    fn down(&self, name: &str) {
        let output = self.run(&["sandbox", "down", "--name", name]);
        assert!(output.status.success(), "down: {}", stderr(&output));
    }

    /// Everything that a sandbox of this home and name could have left.
    fn traces(&self, name: &str) -> Vec<String> {
        let home = self.home.path().to_str().expect("a path");
        let mut traces = processes_with(home);
        let namespaces = list("ip", &["netns", "list"]);
        traces.extend(namespaces.into_iter().filter(|line| line.starts_with(&format!("fd-{name}-"))));
        traces.extend(mounts().into_iter().filter(|line| line.contains(home) || line.contains(&format!("fd-{name}-"))));
        traces.extend(control_groups(name));
        traces.extend(list("nft", &["list", "tables"]).into_iter().filter(|line| line.contains("firedrill_sandbox")));
        let directory = self.home.path().join("sandboxes").join(name);
        traces.extend(directory.exists().then(|| directory.display().to_string()));
        traces
    }

    fn assert_no_trace(&self, name: &str, when: &str) {
        let traces = self.traces(name);
        assert!(traces.is_empty(), "left {when}: {traces:#?}");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for name in &self.names {
            let output = self.run(&["sandbox", "down", "--name", name]);
            if !output.status.success() {
                eprintln!("sandbox {name} was not taken down: {}", stderr(&output));
            }
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status_in(output: &Output) -> SandboxStatus {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("the status as JSON")
}

fn list(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn mounts() -> Vec<String> {
    std::fs::read_to_string("/proc/self/mounts").expect("mounts").lines().map(str::to_owned).collect()
}

/// Command lines of all processes that have `text` in their command line or environment, this one left out.
fn processes_with(text: &str) -> Vec<String> {
    let holds = |path: PathBuf| std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text));
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse() != Ok(std::process::id())))
        .map(|entry| entry.path())
        .filter(|path| holds(path.join("cmdline")) || holds(path.join("environ")))
        .map(|path| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " "))
        .collect()
}

fn control_groups(name: &str) -> Vec<String> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/systemd"]
        .iter()
        .map(|mount| Path::new(mount).join("firedrill").join(name))
        .filter(|group| group.exists())
        .map(|group| group.display().to_string())
        .collect()
}

/// Interfaces of the machine with an address in the /24 of `inside`.
fn interfaces_near(inside: IpAddr) -> Vec<String> {
    let IpAddr::V4(inside) = inside else { panic!("sandboxes have IPv4 addresses") };
    let [a, b, c, _] = inside.octets();
    list("ip", &["-brief", "address"]).into_iter().filter(|line| line.contains(&format!(" {a}.{b}.{c}."))).collect()
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
    assert!(status.success());
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_sandbox_is_whole_and_leaves_nothing_behind() {
    let ground = Ground::new(&["it-whole"]);
    let status = ground.up("it-whole");
    assert_eq!((status.nodes.len(), status.hosts.len()), (6, 9));
    assert!(status.server.pid.is_some() && status.gateway.pid.is_some() && status.supervisor_pid.is_some());
    assert!(status.nodes.iter().all(|node| node.pid.is_some() && node.data_dir.is_dir()), "{status:#?}");
    assert!(status.hosts.iter().all(|host| host.agent_pid.is_some()), "{status:#?}");
    let roles = |role: &str| status.nodes.iter().filter(|node| node.role == role).count();
    assert_eq!(
        ["primary", "replica", "pseudo-primary", "pseudo-replica"].map(roles),
        [1, 2, 1, 2],
        "roles as the keeper gave them"
    );
    assert_eq!(interfaces_near(status.gateway.address).len(), 1);
    let again = ground.run(&["sandbox", "up", "--name", "it-whole"]);
    assert_eq!(again.status.code(), Some(4), "a sandbox that is up is left alone: {}", stderr(&again));
    ground.down("it-whole");
    ground.assert_no_trace("it-whole", "after down");
    assert_eq!(interfaces_near(status.gateway.address), Vec::<String>::new());
    ground.down("it-whole");
    let unknown = ground.run(&["sandbox", "status", "--name", "it-whole"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("sandbox up --name it-whole"), "{}", stderr(&unknown));
}

#[test]
fn two_sandboxes_run_side_by_side() {
    // One name begins with the other: what belongs to whom must not be a matter of prefixes.
    let ground = Ground::new(&["it-side", "it-side-b"]);
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| ground.up("it-side"));
        let two = scope.spawn(|| ground.up("it-side-b"));
        (one.join().expect("comes up"), two.join().expect("comes up"))
    });
    assert_ne!(one.server.url, two.server.url);
    assert_ne!(one.gateway.address, two.gateway.address);
    ground.down("it-side");
    let two = ground.status("it-side-b");
    assert!(two.nodes.iter().all(|node| node.pid.is_some()) && two.server.pid.is_some(), "{two:#?}");
    assert!(two.hosts.iter().all(|host| host.agent_pid.is_some()), "{two:#?}");
    assert_eq!(control_groups("it-side"), Vec::<String>::new());
}

#[test]
fn what_dies_is_started_again_also_by_a_new_supervisor() {
    let ground = Ground::new(&["it-again"]);
    let before = ground.up("it-again");
    let (server, agent) = (before.server.pid.expect("runs"), before.hosts[0].agent_pid.expect("runs"));
    kill(server);
    kill(agent);
    let restarted = until("server and agent after SIGKILL", || {
        let now = ground.status("it-again");
        let pids = (now.server.pid?, now.hosts[0].agent_pid?);
        (pids.0 != server && pids.1 != agent).then_some(pids)
    });
    kill(ground.status("it-again").supervisor_pid.expect("runs"));
    let mut supervisor = ground.command(&["sandbox", "supervise", "--name", "it-again"]).spawn().expect("starts");
    kill(restarted.1);
    let found = until("the agent, by the new supervisor", || {
        let now = ground.status("it-again");
        now.hosts[0].agent_pid.filter(|pid| *pid != restarted.1).and(now.server.pid)
    });
    assert_eq!(found, restarted.0, "the server that ran was found, not started anew");
    ground.down("it-again");
    supervisor.wait().expect("ended with its sandbox");
    ground.assert_no_trace("it-again", "after down");
}

/// Starts `up` and kills it (not what it has started) at a moment.
fn kill_up_when(ground: &Ground, name: &str, reached: impl FnOnce(&mut Child)) {
    let mut up = ground
        .command(&["sandbox", "up", "--name", name])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    reached(&mut up);
    up.kill().expect("killed");
    up.wait().expect("ended");
}

#[test]
fn up_may_be_killed_at_any_moment() {
    let ground = Ground::new(&["it-killed"]);
    for delay in [0, 5, 10, 20, 40, 60, 80, 100, 120, 150] {
        kill_up_when(&ground, "it-killed", |_| std::thread::sleep(Duration::from_millis(delay)));
        ground.down("it-killed");
        ground.assert_no_trace("it-killed", &format!("after a kill at {delay} ms and down"));
    }
    let stages = ["server answers", "hosts are on the network", "database servers run", "agents start"];
    for stage in stages {
        kill_up_when(&ground, "it-killed", |up| {
            let progress = BufReader::new(up.stderr.take().expect("piped"));
            let seen = progress.lines().map_while(Result::ok).any(|line| line.contains(stage));
            assert!(seen, "`up` says {stage:?}");
        });
        if stage == "agents start" {
            // As when somebody tidies up by hand: the plan is gone, the names are enough. Moved, not removed: what
            // still runs goes on making files in it, which a removal would race with.
            let directory = ground.home.path().join("sandboxes/it-killed");
            std::fs::rename(directory, ground.home.path().join("moved-away")).expect("moved");
        }
        ground.down("it-killed");
        ground.assert_no_trace("it-killed", &format!("after a kill at {stage:?} and down"));
    }
}

#[test]
fn a_new_up_cleans_up_after_a_killed_one() {
    let ground = Ground::new(&["it-anew"]);
    kill_up_when(&ground, "it-anew", |_| std::thread::sleep(Duration::from_millis(1500)));
    assert!(!ground.traces("it-anew").is_empty(), "the kill came too early to leave anything");
    let status = ground.up("it-anew");
    assert!(status.nodes.iter().all(|node| node.pid.is_some()), "{status:#?}");
    ground.down("it-anew");
    ground.assert_no_trace("it-anew", "after down");
}

#[test]
fn a_missing_privilege_is_named_with_what_to_do() {
    let ground = Ground::new(&[]);
    let shared = tempfile::Builder::new().prefix("fd-").tempdir_in("/var/tmp").expect("a directory");
    let copy = shared.path().join("firedrill");
    std::fs::copy(program(), &copy).expect("copied");
    for path in [shared.path(), copy.as_path()] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    }
    const NOBODY: u32 = 65_534;
    let output = Command::new(&copy)
        .args(["sandbox", "up", "--name", "it-nobody"])
        .env("FIREDRILL_HOME", ground.home.path().join("x"))
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    for part in ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "sudo"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    ground.assert_no_trace("it-nobody", "after a refusal");
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_made() {
    let ground = Ground::new(&["it-port"]);
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = holder.local_addr().expect("bound").port().to_string();
    let output = ground.run(&["sandbox", "up", "--name", "it-port", "--http-port", &port]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&port) && stderr(&output).contains("--http-port"), "{}", stderr(&output));
    ground.assert_no_trace("it-port", "after a refusal");
}

/// Runs `up` with a changed view of the file system, which only it has.
fn up_after(ground: &Ground, mount: &str) -> Output {
    let script = format!("{mount} && exec \"$0\" sandbox up --name it-lacking");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(program()).env("FIREDRILL_HOME", ground.home.path());
    command.output().expect("unshare")
}

#[test]
fn a_machine_without_mariadb_is_told_what_to_install() {
    let ground = Ground::new(&["it-lacking"]);
    let output = up_after(&ground, "mount --bind /dev/null \"$(command -v mariadbd || echo /usr/sbin/mariadbd)\"");
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("mariadbd") && message.contains("mariadb-server"), "{message}");
    ground.assert_no_trace("it-lacking", "after a refusal");
}

#[test]
fn a_full_disk_is_named_before_anything_is_made() {
    let ground = Ground::new(&["it-lacking"]);
    let home = ground.home.path().display().to_string();
    let output = up_after(&ground, &format!("mount -t tmpfs -o size=20m none {home}"));
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains(&home) && message.contains("MiB") && message.contains("FIREDRILL_HOME"), "{message}");
    ground.assert_no_trace("it-lacking", "after a refusal");
}
