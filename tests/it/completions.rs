//! Shells complete command lines, and the manual page is one.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use mcp_remote_tests::home::TestHome;

fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    given(Command::new(program).args(arguments), input)
}

/// The same with the environment of `home`.
fn run_in(home: &TestHome, program: &str, arguments: &[&str], input: &str) -> Output {
    let template = home.command("mcp-remote", &[]);
    let set = template.get_envs();
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(set.filter_map(|(name, value)| Some((name, value?))));
    given(&mut command, input)
}

fn given(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn script(shell: &str) -> String {
    let finished = TestHome::new().run(&["completions", shell]);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    finished.stdout
}

/// A home with two servers, which shells find in its path.
fn with_servers() -> TestHome {
    let mut home = TestHome::new();
    let programs = mcp_remote_tests::process::binary("mcp-remote");
    let programs = programs.parent().expect("a folder").display();
    home.set("PATH", format!("{programs}:/usr/bin:/bin"));
    for name in ["everything", "github"] {
        let added = home.run(&["add", name, "http://127.0.0.1:1/"]);
        assert_eq!(added.code, 0, "{added:?}");
    }
    home
}

/// Completes a command line in a real bash as readline would; the last word is the
/// one that is being typed.
fn completed(home: &TestHome, script: &str, words: &[&str]) -> Vec<String> {
    let line: String = words.iter().map(|word| format!(" '{word}'")).collect();
    let ask = format!(
        "{script}\nCOMP_WORDS=({line} )\nCOMP_CWORD={}\n_mcp_remote\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.len() - 1
    );
    let program = ["--norc", "--noprofile"];
    let output = run_in(home, "/bin/bash", &program, &ask);
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_words() {
    let script = script("bash");
    let checked = run("/bin/bash", &["-n"], &script);
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    let home = TestHome::new();
    let completed = |words: &[&str]| completed(&home, &script, words);
    assert_eq!(completed(&["mcp-remote", "sta"]), ["status"]);
    let all = completed(&["mcp-remote", ""]);
    for name in ["login", "logout", "status", "logs", "doctor", "stop", "man"] {
        assert!(all.iter().any(|word| word == name), "{name}: {all:?}");
    }
    assert_eq!(completed(&["mcp-remote", "status", "--w"]), ["--watch"]);
    assert_eq!(completed(&["mcp-remote", "status", "--tr"]), [""]);
    assert_eq!(
        completed(&["mcp-remote", "https://h", "--tr"]),
        ["--transport"]
    );
    let strategies = completed(&["mcp-remote", "https://h", "--transport", "http"]);
    assert_eq!(strategies, ["http-first", "http-only"]);
    let inline = completed(&["mcp-remote", "https://h", "--transport", "=", "sse-o"]);
    assert_eq!(inline, ["sse-only"]);
    let inline = completed(&["mcp-remote", "https://h", "--reuse", "="]);
    assert_eq!(inline.len(), 3, "{inline:?}");
    assert_eq!(
        completed(&["mcp-remote", "logs", "--level", "d"]),
        ["debug"]
    );
    assert_eq!(completed(&["mcp-remote", "completions", "z"]), ["zsh"]);
    assert_eq!(completed(&["mcp-remote", "logs", "--level", "x"]), [""]);
}

#[test]
fn bash_completes_names_of_servers_where_they_stand() {
    let (home, script) = (with_servers(), script("bash"));
    let completed = |words: &[&str]| completed(&home, &script, words);
    for line in [
        &["status", "ev"][..],
        &["remove", "ev"],
        &["call", "ev"],
        &["ev"],
        &["call", "--header", "A", "ev"],
        &["call", "--json", "{}", "ev"],
        &["status", "--json", "ev"],
        &["--transport", "=", "sse-only", "tools", "ev"],
    ] {
        let words = [&["mcp-remote"], line].concat();
        assert_eq!(completed(&words), ["everything"], "{line:?}");
    }
    assert_eq!(completed(&["mcp-remote", "logs", ""]).len(), 2);
    // Only where a server stands.
    for line in [
        &["status", "everything", "g"][..],
        &["add", "g"],
        &["list", "g"],
        &["https", ":", "//h/", "g"],
        &["call", "--header", "g"],
    ] {
        let words = [&["mcp-remote"], line].concat();
        assert_eq!(completed(&words), [""], "{line:?}");
    }
}

#[test]
fn nothing_of_ours_is_offered_behind_a_tool() {
    let (home, script) = (TestHome::new(), script("bash"));
    let completed = |words: &[&str]| completed(&home, &script, words);
    let before = completed(&["mcp-remote", "call", "everything", "--out"]);
    assert_eq!(before, ["--output"]);
    for line in [
        &["everything", "put", "--out"][..],
        &["https", ":", "//h", ":", "80/x", "put", "--out"],
        &["--output", "json", "everything", "put", "--"],
        &["everything", "put", "--output", ""],
    ] {
        let words = [&["mcp-remote", "call"], line].concat();
        assert_eq!(completed(&words), [""], "{line:?}");
    }
}

#[test]
fn other_shells_read_their_scripts_where_they_are_installed() {
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = script(shell);
        assert!(script.lines().count() > 20, "{script}");
        let there = ["/usr/bin", "/bin", "/usr/local/bin"]
            .map(|folder| format!("{folder}/{shell}"))
            .into_iter()
            .find(|path| std::path::Path::new(path).is_file());
        if let Some(program) = there {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("script");
            std::fs::write(&file, &script).expect("written");
            let checked = run(&program, &[check, file.to_str().expect("UTF-8")], "");
            assert!(checked.status.success(), "{checked:?}");
            assert!(checked.stderr.is_empty(), "{checked:?}");
        }
    }
}

#[test]
fn the_manual_page_is_one() {
    let finished = TestHome::new().run(&["man"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    let page = &finished.stdout;
    assert!(page.starts_with(".TH MCP\\-REMOTE 1 "));
    for section in ["NAME", "SYNOPSIS", "COMMANDS", "FLAGS", "EXIT STATUS"] {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
    }
    if std::path::Path::new("/usr/bin/groff").is_file() {
        // Bold text is not printed twice.
        let flags = ["-man", "-Tutf8", "-ww", "-rLL=100n", "-P-cbu"];
        let formatted = run("/usr/bin/groff", &flags, page);
        assert!(formatted.status.success(), "{formatted:?}");
        let warnings = String::from_utf8_lossy(&formatted.stderr).into_owned();
        assert_eq!(warnings, "");
        // A formatter may print a minus sign as one.
        let text = String::from_utf8_lossy(&formatted.stdout).replace('\u{2212}', "-");
        assert!(text.contains("--request-timeout"), "{text}");
    }
}

#[test]
fn every_command_explains_itself() {
    let home = TestHome::new();
    let all = home.run(&["--help"]);
    assert_eq!(all.code, 0);
    assert!(
        all.stdout
            .starts_with("Usage: mcp-remote <https://server-url>")
    );
    for command in ["login", "logout", "status", "logs", "doctor", "stop", "man"] {
        assert!(all.stdout.contains(&format!("\n  {command}")), "{command}");
        let own = home.run(&[command, "--help"]);
        assert_eq!((own.code, own.stderr.as_str()), (0, ""));
        let expected = format!("Usage: mcp-remote {command}");
        assert!(own.stdout.starts_with(&expected), "{}", own.stdout);
    }
}
