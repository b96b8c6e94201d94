use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let base = tempfile::tempdir().expect("a folder");
    let folder = base.path().join("auth/mcp-remote-d1");
    prepare_folder(&folder).expect("a private folder");
    (base, folder)
}

fn write(path: &Path, content: &[u8]) {
    Replacement::prepare(path)
        .and_then(|replacement| replacement.commit(content))
        .expect("written");
}

fn text(path: &Path) -> Option<String> {
    let content = read(path, Loose::Repair).expect("readable")?;
    Some(String::from_utf8_lossy(&content).into_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o777
}

#[test]
fn files_and_folders_are_private() {
    let (_base, folder) = folder();
    let file = folder.join("f");
    write(&file, b"one");
    write(&file, b"2");
    assert_eq!(text(&file).as_deref(), Some("2"));
    assert_eq!((mode(&file), mode(&folder)), (0o600, 0o700));
    assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
}

#[test]
fn loose_modes_are_repaired() {
    let (_base, folder) = folder();
    let file = folder.join("f");
    write(&file, b"x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("ours");
    let base = folder.parent().expect("has one");
    fs::set_permissions(base, fs::Permissions::from_mode(0o777)).expect("ours");
    prepare_folder(&folder).expect("repaired");
    assert!(read(&file, Loose::Leave).expect("readable").is_some());
    assert_eq!(mode(&file), 0o644);
    assert_eq!(text(&file).as_deref(), Some("x"));
    assert_eq!(
        (mode(&file), mode(&folder), mode(base)),
        (0o600, 0o700, 0o755)
    );
}

#[test]
fn what_is_no_regular_file_is_refused_and_replaced_but_never_followed() {
    let (base, folder) = folder();
    let elsewhere = base.path().join("elsewhere");
    fs::write(&elsewhere, "theirs").expect("written");
    let (link, pipe, directory) = (folder.join("l"), folder.join("p"), folder.join("d"));
    symlink(&elsewhere, &link).expect("made");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    fs::create_dir(&directory).expect("made");
    for path in [&link, &pipe, &directory] {
        let refused = read(path, Loose::Repair);
        assert!(matches!(refused, Err(FileError::NotAFile(_))), "{path:?}");
    }
    write(&link, b"ours");
    write(&pipe, b"ours");
    assert_eq!(fs::read_to_string(&elsewhere).expect("there"), "theirs");
    assert_eq!(text(&link).as_deref(), Some("ours"));
    assert_eq!(text(&pipe).as_deref(), Some("ours"));
    assert!(Replacement::prepare(&directory).is_err());
}

#[test]
fn a_linked_folder_is_refused() {
    let base = tempfile::tempdir().expect("a folder");
    let real = base.path().join("real");
    fs::create_dir(&real).expect("made");
    let folder = base.path().join("mcp-remote-d1");
    symlink(&real, &folder).expect("made");
    assert!(matches!(
        prepare_folder(&folder),
        Err(FileError::NotAFolder(_))
    ));
}

#[test]
fn a_writer_that_is_killed_after_any_step_leaves_the_old_or_the_new_content() {
    let (_base, folder) = folder();
    let file = folder.join("f");
    for (killed_after, expected) in [
        (None, "old"),
        (Some(Step::Reserved), "old"),
        (Some(Step::Written), "old"),
        (Some(Step::Synced), "old"),
        (Some(Step::Renamed), "new"),
    ] {
        write(&file, b"old");
        let mut replacement = Replacement::prepare(&file).expect("room");
        if let Some(last) = killed_after {
            let died = replacement.replace(b"new", &mut |step| match step == last {
                true => Err(io::Error::other("killed")),
                false => Ok(()),
            });
            assert!(died.is_err());
        }
        // Nobody tidies up after a process that was killed.
        std::mem::forget(replacement);
        assert_eq!(text(&file).as_deref(), Some(expected), "{killed_after:?}");
        write(&file, b"next");
        assert_eq!(text(&file).as_deref(), Some("next"), "{killed_after:?}");
    }
    sweep(&folder, &[], std::time::Duration::ZERO);
    let left = fs::read_dir(&folder).expect("there").count();
    assert_eq!(left, 1, "what was left behind is swept");
}

#[test]
fn a_writer_that_fails_at_any_step_leaves_no_file_behind() {
    let (_base, folder) = folder();
    let file = folder.join("f");
    write(&file, b"old");
    for last in [Step::Reserved, Step::Written, Step::Synced] {
        let replacement = Replacement::prepare(&file).expect("room");
        let failed = replacement.commit_stepwise(b"new", &mut |step| match step == last {
            true => Err(io::Error::other("no space left")),
            false => Ok(()),
        });
        assert!(failed.is_err());
        assert_eq!(text(&file).as_deref(), Some("old"), "{last:?}");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
    }
}

#[test]
fn leftovers_are_swept_once_they_are_old() {
    let (_base, folder) = folder();
    for name in [".new-1-0-a", "h_code_verifier.txt", "h_tokens.json"] {
        write(&folder.join(name), b"x");
    }
    let left = || fs::read_dir(&folder).expect("there").count();
    let also = ["_code_verifier.txt"];
    sweep(&folder, &also, std::time::Duration::from_secs(60));
    assert_eq!(left(), 3);
    sweep(&folder, &also, std::time::Duration::ZERO);
    assert_eq!(left(), 1);
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let (_base, folder) = folder();
    let file = folder.join("f");
    let long = File::create(&file).expect("made");
    long.set_len(MAX_FILE + 1).expect("sparse");
    assert!(matches!(
        read(&file, Loose::Repair),
        Err(FileError::TooLong(_))
    ));
}
