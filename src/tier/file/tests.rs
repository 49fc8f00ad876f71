//! Files of tiers: made, locked, given room, removed again.

use super::*;
use std::format;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::string::String;
use std::sync::atomic::AtomicU64;
use std::vec;
use std::vec::Vec;

/// A folder of a test's own; removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kvcache-tier-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder is there");
        entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes the system call fail with `EPERM` in this thread from now on.
pub(crate) fn forbid(system_call: i64) {
    let statement = |code: u32, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    };
    let mut filter = [
        // The call's number, which comes first of what a filter looks at.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, system_call as u32)
        },
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: I1.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
            0
        );
    }
}

fn wanted(path: &Path, bytes: u64) -> Wanted<'_> {
    Wanted {
        path,
        bytes,
        path_field: "a_path",
        bytes_field: "a_bytes",
        direct: true,
        sparse_permitted: false,
    }
}

fn open(path: &Path, bytes: u64) -> Result<TierFile, ConfigError> {
    TierFile::open(&wanted(path, bytes))
}

fn refused(path: &Path, bytes: u64) -> ConfigError {
    let refusal = open(path, bytes).err().expect("refused");
    std::println!("{refusal}");
    refusal
}

#[test]
fn a_new_file_gets_its_length_and_its_room_and_is_for_its_owner_only() {
    let folder = Folder::new();
    let file = open(&folder.path("tier"), 3 << 20).expect("opens");
    assert_eq!(file.length_bytes(), Ok(0));
    assert!(!file.is_whole());
    file.preallocate().expect("room");
    assert_eq!(file.length_bytes(), Ok(3 << 20));
    drop(file);
    let facts = std::fs::metadata(folder.path("tier")).expect("it stays");
    assert_eq!((facts.len(), facts.mode() & 0o777), (3 << 20, 0o600));
    assert!(facts.blocks() * 512 >= 3 << 20, "sparse: {} blocks", facts.blocks());
}

#[test]
fn a_file_that_never_got_its_length_is_removed_again() {
    let folder = Folder::new();
    let file = open(&folder.path("tier"), 1 << 20).expect("opens");
    assert_eq!(folder.names(), ["tier"]);
    drop(file);
    assert_eq!(folder.names(), [""; 0]);

    // But not another that took its place.
    let file = open(&folder.path("tier"), 1 << 20).expect("opens");
    std::fs::remove_file(folder.path("tier")).expect("removed");
    std::fs::write(folder.path("tier"), "somebody else's").expect("written");
    drop(file);
    assert_eq!(folder.names(), ["tier"]);
}

#[test]
fn what_exists_is_not_changed_before_it_is_asked_for() {
    let folder = Folder::new();
    let path = folder.path("letter");
    let text = b"dear reader".repeat(500);
    std::fs::write(&path, &text).expect("written");
    let file = open(&path, 1 << 20).expect("opens");
    assert_eq!(file.length_bytes(), Ok(text.len() as u64));
    // Beyond its end there are zeros.
    let mut buffers = crate::tier::sim::tests::Buffers::new(64 << 10);
    for offset in [0, 4096, 8192, 512 << 10] {
        buffers.slice(0, 64 << 10).fill(0xEE);
        // SAFETY: I1.
        assert_eq!(unsafe { file.read(offset, buffers.at(0), 64 << 10) }, Ok(64 << 10));
        let mut expected = vec![0; 64 << 10];
        let there = text.get(offset as usize..).unwrap_or_default();
        expected[..there.len()].copy_from_slice(there);
        assert!(buffers.slice(0, 64 << 10) == expected, "at {offset}");
    }
    drop(file);
    assert!(std::fs::read(&path).expect("it is there") == text);

    let file = open(&path, 1 << 20).expect("opens");
    file.preallocate().expect("room");
    drop(file);
    let grown = std::fs::read(&path).expect("it is there");
    assert_eq!(grown.len(), 1 << 20);
    assert!(grown.starts_with(&text) && grown[text.len()..].iter().all(|&byte| byte == 0));

    // A longer one stays as long as it is.
    let file = open(&path, 64 << 10).expect("opens");
    file.preallocate().expect("nothing to do");
    assert_eq!((file.bytes(), file.length_bytes()), (64 << 10, Ok(1 << 20)));
}

#[test]
fn too_large_a_file_leaves_nothing_behind() {
    let folder = Folder::new();
    for bytes in [1 << 50, u64::MAX >> 1] {
        let file = open(&folder.path("tier"), bytes).expect("opens");
        let refusal = file.preallocate().expect_err("no disk is so large");
        std::println!("{refusal}");
        assert_eq!(
            (refusal.status, refusal.field, refusal.value),
            (Status::NoSpace, "a_bytes", bytes)
        );
        assert_ne!(refusal.os_error, 0);
        drop(file);
        assert_eq!(folder.names(), [""; 0]);

        std::fs::write(folder.path("letter"), "dear reader").expect("written");
        let file = open(&folder.path("letter"), bytes).expect("opens");
        assert_eq!(
            file.preallocate().map_err(|refusal| refusal.status),
            Err(Status::NoSpace)
        );
        drop(file);
        assert_eq!(
            std::fs::read(folder.path("letter")).expect("it is there"),
            b"dear reader"
        );
        std::fs::remove_file(folder.path("letter")).expect("removed");
    }
}

/// On a small file system given by the environment: `fallocate` itself runs out of room, behind the back of the
/// question how much there is.
#[test]
fn room_that_runs_out_on_the_way_is_given_back() {
    let Some(small) = std::env::var_os("KVC_TEST_SMALL_FILE_SYSTEM") else {
        std::println!("not run: KVC_TEST_SMALL_FILE_SYSTEM names no folder");
        return;
    };
    let path = Path::new(&small).join("tier");
    std::fs::write(&path, "dear reader").expect("written");
    let file = open(&path, 1 << 20).expect("opens");
    let room = place::room_bytes(&file.lock).expect("it says how much room it has");
    drop(file);
    // What is free and what a file can have differ by the file system's own needs.
    let file = open(&path, room).expect("opens");
    let refusal = file.preallocate().expect_err("not quite enough room");
    assert_eq!((refusal.status, refusal.os_error), (Status::NoSpace, libc::ENOSPC));
    // Less a little for the list of the file's places.
    assert!(
        place::room_bytes(&file.lock).is_some_and(|left| left + (64 << 10) >= room),
        "room was kept"
    );
    drop(file);
    assert_eq!(std::fs::read(&path).expect("it is there"), b"dear reader");
    std::fs::remove_file(&path).expect("removed");
    let file = open(&path, room).expect("opens");
    assert_eq!(
        file.preallocate().map_err(|refusal| refusal.status),
        Err(Status::NoSpace)
    );
    assert!(!path.exists());
}

#[test]
fn paths_that_lead_to_no_file_are_refused_clearly() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), "").expect("written");
    std::os::unix::fs::symlink(folder.path("circle"), folder.path("circle")).expect("linked");
    let pipe = std::ffi::CString::new(folder.path("pipe").to_string_lossy().into_owned()).expect("no NUL");
    // SAFETY: I1.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    for (path, os_error) in [
        (folder.path(""), libc::EISDIR),
        (folder.path("missing/tier"), libc::ENOENT),
        (folder.path("file/tier"), libc::ENOTDIR),
        (folder.path("circle"), libc::ELOOP),
        (folder.path("pipe"), 0),
        (folder.path(&"x".repeat(300)), libc::ENAMETOOLONG),
        (PathBuf::from("/dev/null"), 0),
    ] {
        let refusal = refused(&path, 1 << 20);
        assert_eq!((refusal.status, refusal.field), (Status::File, "a_path"), "{path:?}");
        assert_eq!(refusal.os_error, os_error, "{path:?}");
        assert!(refusal.reason.len() > 20);
    }
}

#[test]
fn a_file_without_permission_is_refused() {
    let folder = Folder::new();
    let path = folder.path("tier");
    std::fs::write(&path, "").expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).expect("changed");
    if OpenOptions::new().write(true).open(&path).is_ok() {
        std::println!("not run: this user may write to every file");
        return;
    }
    let refusal = refused(&path, 1 << 20);
    assert_eq!((refusal.status, refusal.os_error), (Status::File, libc::EACCES));
}

#[test]
fn a_second_engine_of_the_process_is_refused() {
    let folder = Folder::new();
    let path = folder.path("tier");
    let file = open(&path, 1 << 20).expect("opens");
    let refusal = refused(&path, 1 << 20);
    assert_eq!((refusal.status, refusal.field), (Status::FileBusy, "a_path"));
    // By another name it is the same file.
    std::fs::hard_link(&path, folder.path("other")).expect("linked");
    assert_eq!(refused(&folder.path("other"), 1 << 20).status, Status::FileBusy);
    file.preallocate().expect("room");
    drop(file);
    open(&path, 1 << 20).expect("opens");
}

/// This test again in a process of its own, which opens the file and keeps it.
fn holder(path: &Path) -> (Child, String) {
    let program = std::env::current_exe().expect("has a path");
    let mut child = Command::new(program)
        .args([
            "--exact",
            "tier::file::tests::a_second_process_is_refused",
            "--nocapture",
        ])
        .env("KVC_TEST_HOLD", path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let said = lines.map_while(Result::ok).find(|line| line.starts_with("opened: "));
    (child, said.expect("it says something"))
}

#[test]
fn a_second_process_is_refused() {
    if let Some(path) = std::env::var_os("KVC_TEST_HOLD") {
        let file = open(Path::new(&path), 1 << 20);
        std::println!("\nopened: {:?}", file.as_ref().err().map(|refusal| refusal.status));
        std::thread::sleep(std::time::Duration::from_secs(20));
        drop(file);
        return;
    }
    let folder = Folder::new();
    let path = folder.path("tier");
    let (mut child, said) = holder(&path);
    assert_eq!(said, "opened: None");
    assert_eq!(refused(&path, 1 << 20).status, Status::FileBusy);
    child.kill().expect("killed");
    child.wait().expect("gone");
    // With the process the lock is gone, at once.
    let file = open(&path, 1 << 20).expect("opens");
    let (mut child, said) = holder(&path);
    assert_eq!(said, "opened: Some(FileBusy)");
    child.kill().expect("killed");
    child.wait().expect("gone");
    drop(file);
}
