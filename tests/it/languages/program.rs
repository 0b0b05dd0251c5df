//! The example programs of each language: how to build and start them.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use crate::harness::{Server, TempDir, binaries, left_out};

/// A client library, and how its two programs start.
#[derive(Debug)]
pub(super) struct Language {
    pub(super) name: &'static str,
    /// Where they run.
    dir: PathBuf,
    worker: Vec<OsString>,
    producer: Vec<OsString>,
    /// Further modules for Python.
    python_path: Option<PathBuf>,
}

/// The languages whose programs could be built, in the order of the README.
pub(super) fn languages() -> &'static [Language] {
    static LANGUAGES: OnceLock<Vec<Language>> = OnceLock::new();
    LANGUAGES.get_or_init(|| {
        let mut all = pythons();
        for name in ["node", "go", "java", "rust"] {
            all.extend(directory(name).map(|dir| built(name, dir)));
        }
        all
    })
}

/// Runs `test` for each language, with a fresh server each, that of the first kind.
#[allow(clippy::print_stderr, reason = "says which language a failure is of")]
pub(super) fn each_language(test: impl Fn(&Language, Server)) {
    for language in languages() {
        eprintln!("--- {}", language.name);
        test(language, Server::with(&binaries()[0]).tcp().start());
    }
}

/// redis-py as it is new, with threads and with asyncio; and what Debian has of it.
fn pythons() -> Vec<Language> {
    let program = |name: &str| {
        ["/usr/bin/python3", "-B", name].iter().map(OsString::from).collect::<Vec<_>>()
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python");
    let python = |name, kind: &str, python_path| Language {
        name,
        dir: dir.clone(),
        worker: program(&format!("worker{kind}.py")),
        producer: program(&format!("producer{kind}.py")),
        python_path,
    };
    let newest = crate::lossy::python_path();
    if newest.is_none() {
        left_out("examples/python with the newest redis-py, which scripts/install-deps gets");
        return vec![python("python", "", None), python("asyncio", "_asyncio", None)];
    }
    vec![
        python("python", "", newest.clone()),
        python("asyncio", "_asyncio", newest),
        python("python of Debian", "", None),
    ]
}

/// Builds one and says so if that cannot be done here; the directory with its programs, and with
/// the client library that they use.
pub(crate) fn directory(name: &str) -> Option<PathBuf> {
    build(name).map_err(|why| left_out(&format!("examples/{name}: {why}"))).ok()
}

/// Builds one; the directory it is in, or why this machine cannot.
fn build(name: &str) -> Result<PathBuf, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/examples");
    let output = Command::new(script).arg(name).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{script}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())),
        Some(3) => Err(said),
        _ => panic!("scripts/examples {name}: {said}"),
    }
}

fn built(name: &'static str, dir: PathBuf) -> Language {
    let words = |program: &str| -> Vec<OsString> {
        let words: &[&str] = match name {
            "node" => &["node", &format!("{program}.mjs")],
            // Starts in half the time.
            "java" => &[
                "java",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                "target/classes:target/dependency/*",
                &format!("{}{}", program[..1].to_uppercase(), &program[1..]),
            ],
            _ => &[&format!("bin/{program}")],
        };
        words.iter().map(OsString::from).collect()
    };
    let (worker, producer) = (words("worker"), words("producer"));
    Language { name, dir, worker, producer, python_path: None }
}

impl Language {
    /// Starts a worker on the server at `port`; its lines are appended to `lines`.
    pub(super) fn worker(&self, port: u16, lines: &Path, settings: &[(&str, &str)]) -> Running {
        let lines = File::options().create(true).append(true).open(lines).unwrap();
        self.start(&self.worker, &[], port, lines.into(), settings)
    }

    /// Starts a producer of so many posts.
    pub(super) fn producer(&self, port: u16, posts: u32, settings: &[(&str, &str)]) -> Running {
        self.start(&self.producer, &[posts.to_string()], port, Stdio::piped(), settings)
    }

    fn start(
        &self,
        words: &[OsString],
        arguments: &[String],
        port: u16,
        output: Stdio,
        settings: &[(&str, &str)],
    ) -> Running {
        let errors = TempDir::new();
        let path = errors.path().join("err");
        // A path with a directory is looked for where the program will run.
        let program = self.dir.join(&words[0]);
        let program = if program.is_file() { program } else { PathBuf::from(&words[0]) };
        let mut command = Command::new(program);
        command.args(&words[1..]).args(arguments).current_dir(&self.dir);
        command.env_remove("EVQ_RUN").env("REDIS_URL", format!("redis://127.0.0.1:{port}"));
        command.envs(settings.iter().copied());
        if let Some(path) = &self.python_path {
            command.env("PYTHONPATH", path);
        }
        command.stdin(Stdio::null()).stdout(output).stderr(File::create(&path).unwrap());
        let process = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.name));
        Running { name: self.name, process, errors }
    }
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: &'static str,
    process: Child,
    errors: TempDir,
}

impl Running {
    /// What it wrote to standard error.
    pub(super) fn complaints(&self) -> String {
        std::fs::read_to_string(self.errors.path().join("err")).unwrap_or_default()
    }

    /// As a crash would.
    pub(super) fn kill9(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end, which is to be a good one.
    pub(super) fn stop(&mut self) {
        self.terminate();
        self.ends();
    }

    pub(super) fn terminate(&self) {
        let pid = self.process.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s TERM $0", &pid]).status();
        assert!(status.unwrap().success());
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended well.
    pub(super) fn ends(&mut self) {
        let status = self.process.wait().unwrap();
        assert!(self.well(status), "{}: {status}: {}", self.name, self.complaints());
    }

    /// Waits until it has ended, however it did; whether well.
    pub(super) fn ended_well(&mut self) -> bool {
        let status = self.process.wait().unwrap();
        self.well(status)
    }

    /// A Java machine that was told to end by a signal says so in its exit code, also after all its
    /// hooks have run.
    fn well(&self, status: ExitStatus) -> bool {
        status.success() || self.name == "java" && status.code() == Some(143)
    }

    /// Waits until a producer has ended; what it printed.
    pub(super) fn output(mut self) -> Vec<String> {
        use std::io::Read as _;
        let mut text = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.ends();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
