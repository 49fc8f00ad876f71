//! The NVMe tier's device against real files.

use super::*;
use crate::tier::file::tests::{Folder, forbid};
use crate::tier::sim::tests::{Buffers, contract, one, read, sync, write};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

const MIB: u64 = 1 << 20;

fn engines() -> Vec<IoEngine> {
    let folder = Folder::new();
    match NvmeFile::open(&folder.path("probe"), 4096, 1, IoEngine::Uring) {
        Ok(_) => vec![IoEngine::Uring, IoEngine::Positional],
        Err(error) => {
            std::println!("without io_uring: {error}");
            vec![IoEngine::Positional]
        }
    }
}

fn open(folder: &Folder, bytes: u64, depth: u32, engine: IoEngine) -> NvmeFile {
    let device = NvmeFile::open(&folder.path("tier"), bytes, depth, engine).expect("opens");
    device.preallocate().expect("room");
    device
}

#[test]
fn does_what_a_device_does() {
    for engine in engines() {
        for registered in [false, true] {
            let folder = Folder::new();
            let device = open(&folder, 4 * MIB, 32, engine);
            let model = contract(&device, vec![0; 4 << 20], 1, 3000, registered);
            let (name, uring) = (device.name(), engine == IoEngine::Uring);
            assert_eq!(name.starts_with("io_uring"), uring);
            std::println!("{name}, buffers registered: {}", device.has_registered_buffers());
            drop(device);
            // What was written is there when the file is opened again, by either engine.
            for engine in engines() {
                let device = open(&folder, 4 * MIB, 5, engine);
                assert_eq!(device.length_bytes(), Ok(4 * MIB));
                let held = contract(&device, model.clone(), 2, 0, registered);
                assert!(held == model);
            }
        }
    }
}

#[test]
fn a_read_beyond_the_end_gives_zeros_until_the_file_is_whole_and_an_error_afterwards() {
    for engine in engines() {
        let folder = Folder::new();
        std::fs::write(folder.path("tier"), [7; 10_000]).expect("written");
        let device = NvmeFile::open(&folder.path("tier"), MIB, 4, engine).expect("opens");
        assert_eq!(device.length_bytes(), Ok(10_000));
        let mut expected = vec![7; 10_000];
        expected.resize(16 << 10, 0);
        assert_eq!(read(&device, 0, 16 << 10), Ok(expected.clone()));
        assert_eq!(read(&device, MIB - 4096, 4096), Ok(vec![0; 4096]));
        device.preallocate().expect("room");
        assert_eq!(read(&device, 0, 16 << 10), Ok(expected));
        assert_eq!(write(&device, MIB / 2, &[9; 8192]), Ok(8192));

        // Somebody cuts it short.
        let other = std::fs::OpenOptions::new()
            .write(true)
            .open(folder.path("tier"))
            .expect("opens");
        other.set_len(MIB / 2 + 4096).expect("cut");
        assert_eq!(read(&device, 0, 4096), Ok(vec![7; 4096]));
        assert_eq!(read(&device, MIB / 2 + 4096, 4096), Err(libc::EIO));
        assert_eq!(read(&device, MIB - 8192, 8192), Err(libc::EIO));
        assert_eq!(read(&device, MIB / 2, 8192), Err(libc::EIO));
        assert_eq!(write(&device, MIB - 8192, &[1; 8192]), Ok(8192));
        assert_eq!(read(&device, MIB - 8192, 8192), Ok(vec![1; 8192]));
    }
}

#[test]
fn a_removed_file_goes_on_while_it_is_open() {
    for engine in engines() {
        let folder = Folder::new();
        let device = open(&folder, MIB, 4, engine);
        std::fs::remove_file(folder.path("tier")).expect("removed");
        assert_eq!(write(&device, 0, &[5; 4096]), Ok(4096));
        assert_eq!(sync(&device), Ok(0));
        assert_eq!(read(&device, 0, 4096), Ok(vec![5; 4096]));
    }
}

/// Some file systems do it past direct I/O, others refuse: either is an answer.
#[test]
fn what_is_not_aligned_is_done_or_fails_and_harms_nothing() {
    for engine in engines() {
        let folder = Folder::new();
        let device = open(&folder, MIB, 4, engine);
        assert_eq!(write(&device, 4096, &[1; 4096]), Ok(4096));
        let mut buffers = Buffers::new(8192);
        let odd = buffers.at(1);
        for (offset, buffer) in [(4097, buffers.at(0)), (4096, odd), (4097, odd)] {
            let outcome = one(&device, IoKind::Read, offset, buffer, 2048);
            assert!(matches!(outcome, Ok(2048) | Err(libc::EINVAL)), "{outcome:?}");
            // SAFETY: I1, 2048 bytes were read to there.
            assert!(outcome.is_err() || unsafe { buffer.read() } == 1);
        }
        assert!(read(&device, 4096, 4096) == Ok(vec![1; 4096]));
    }
}

#[test]
fn memory_that_the_kernel_does_not_register_is_used_all_the_same() {
    let folder = Folder::new();
    let device = open(&folder, MIB, 4, IoEngine::Auto);
    // Nothing is mapped there: the kernel refuses, and nobody else looks.
    // SAFETY: I1; no request uses it.
    unsafe { device.register(std::ptr::without_provenance_mut(4096), 8192) };
    assert!(!device.has_registered_buffers());
    contract(&device, vec![0; 1 << 20], 3, 500, false);
}

#[test]
fn a_region_is_registered_in_pieces_that_the_kernel_takes() {
    #[cfg(feature = "uring")]
    {
        let io = |buffer: u64, bytes: u32| Io {
            token: 0,
            kind: IoKind::Read,
            offset: 0,
            buffer: std::ptr::without_provenance_mut(buffer as usize),
            bytes,
        };
        let base = 1 << 40;
        let region = ring::Region {
            base: base as usize,
            bytes: (5 << 30) / 2,
        };
        let gib = 1 << 30;
        for (start, bytes, expected) in [
            (0, 4096, Some(0)),
            (gib - 4096, 4096, Some(0)),
            (gib - 4096, 8192, None),
            (gib, 4096, Some(1)),
            (2 * gib + gib / 2 - 4096, 4096, Some(2)),
            (2 * gib + gib / 2 - 4096, 8192, None),
            (0, 0, None),
        ] {
            assert_eq!(
                region.buffer_index(&io(base + start, bytes)),
                expected,
                "{start} {bytes}"
            );
        }
        assert_eq!(region.buffer_index(&io(base - 4096, 4096)), None);
    }
}

#[test]
fn without_permission_for_io_uring_reads_and_writes_take_over() {
    let folder = Folder::new();
    for call in [libc::SYS_io_uring_enter, libc::SYS_io_uring_setup] {
        forbid(call);
        let device = open(&folder, MIB, 4, IoEngine::Auto);
        assert!(device.name().starts_with("pread"), "{}", device.name());
        contract(&device, vec![0; 1 << 20], 4, 0, true);
        drop(device);
        let refusal = NvmeFile::open(&folder.path("tier"), MIB, 4, IoEngine::Uring)
            .err()
            .expect("refused");
        let os_error = if cfg!(feature = "uring") {
            libc::EPERM
        } else {
            libc::ENOSYS
        };
        assert_eq!((refusal.status, refusal.os_error), (Status::NoUring, os_error));
    }
}

#[test]
fn a_kernel_that_begins_to_refuse_requests_fails_them_all() {
    let folder = Folder::new();
    let device = open(&folder, MIB, 4, IoEngine::Auto);
    assert_eq!(write(&device, 0, &[5; 4096]), Ok(4096));
    if engines().contains(&IoEngine::Uring) {
        forbid(libc::SYS_io_uring_enter);
        for _ in 0..10 {
            assert_eq!(read(&device, 0, 4096), Err(libc::EPERM));
        }
        assert!(device.quiesce(0));
    }
}

#[test]
fn waiting_ends_with_a_completion_or_with_the_time() {
    for engine in engines() {
        let folder = Folder::new();
        let device = open(&folder, 4 * MIB, 4, engine);
        let begun = Instant::now();
        device.wait(20_000_000);
        assert!(begun.elapsed() < Duration::from_secs(5));
        if engine == IoEngine::Uring {
            assert!(
                begun.elapsed() >= Duration::from_millis(19),
                "did not wait: {:?}",
                begun.elapsed()
            );
        }
        // Another thread waits while this one drives.
        let mut buffers = Buffers::new(1 << 20);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| device.wait(30_000_000_000));
            std::thread::sleep(Duration::from_millis(20));
            let io = Io {
                token: 3,
                kind: IoKind::Write,
                offset: 0,
                buffer: buffers.at(0),
                bytes: 1 << 20,
            };
            // SAFETY: I1.
            assert!(unsafe { device.submit(&io) });
            let mut done = [IoDone::EMPTY];
            let begun = Instant::now();
            // Handed over, and not taken until the other one has seen it.
            if engine == IoEngine::Uring {
                assert_eq!(device.reap(&mut []), 0);
                waiter.join().expect("ends");
                assert!(begun.elapsed() < Duration::from_secs(20), "slept through it");
            }
            while device.reap(&mut done) == 0 {
                device.wait(1_000_000);
            }
            assert_eq!(done[0].result, Ok(1 << 20));
        });
    }
}

#[test]
fn dropping_waits_for_what_is_under_way() {
    for engine in engines() {
        let folder = Folder::new();
        let device = open(&folder, 64 * MIB, 32, engine);
        let mut buffers = Buffers::new(32 << 20);
        buffers.slice(0, 32 << 20).fill(3);
        for token in 0..32 {
            let io = Io {
                token,
                kind: IoKind::Write,
                offset: u64::from(token) * MIB,
                buffer: buffers.at((token << 20) as usize),
                bytes: 1 << 20,
            };
            // SAFETY: I1.
            assert!(unsafe { device.submit(&io) });
        }
        device.reap(&mut []);
        let uring = device.name().starts_with("io_uring");
        assert!(device.quiesce(5_000_000_000));
        drop(device);
        // What the kernel had is done, not torn by what happens to the memory now.
        buffers.slice(0, 32 << 20).fill(4);
        let device = open(&folder, 64 * MIB, 32, engine);
        let byte = if uring { 3 } else { 0 };
        for token in 0..32 {
            assert!(
                read(&device, token * MIB, 1 << 20)
                    .expect("readable")
                    .iter()
                    .all(|&found| found == byte)
            );
        }
    }
}

#[test]
fn a_forked_child_that_drops_the_device_takes_nothing_from_its_parent() {
    for engine in engines() {
        let folder = Folder::new();
        let device = NvmeFile::open(&folder.path("tier"), MIB, 4, engine).expect("opens");
        // SAFETY: the child only gives things back, and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(device);
            // SAFETY: the call takes a number and does not return.
            unsafe { libc::_exit(7) };
        }
        let mut status = 0;
        // SAFETY: the address of a local.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 7));
        // Neither the file nor the lock nor the ring is gone.
        assert!(folder.path("tier").exists());
        let refusal = NvmeFile::open(&folder.path("tier"), MIB, 4, engine)
            .err()
            .expect("refused");
        assert_eq!(refusal.status, Status::FileBusy);
        device.preallocate().expect("room");
        contract(&device, vec![0; 1 << 20], 5, 300, true);
    }
}

#[test]
fn requests_of_threads_that_have_ended_are_reported_all_the_same() {
    for engine in engines() {
        let folder = Folder::new();
        let device = open(&folder, 32 * MIB, 32, engine);
        let mut buffers = Buffers::new(32 << 20);
        let base = buffers.at(0).expose_provenance();
        let mut interrupted = 0;
        for round in 0..20 {
            std::thread::scope(|scope| {
                let submitter = scope.spawn(|| {
                    for token in 0..32 {
                        let kind = match (token + round) % 4 {
                            0 => IoKind::Sync,
                            1 => IoKind::Write,
                            _ => IoKind::Read,
                        };
                        let io = Io {
                            token,
                            kind,
                            offset: u64::from(token) << 20,
                            buffer: std::ptr::with_exposed_provenance_mut(base + ((token as usize) << 20)),
                            bytes: 1 << 20,
                        };
                        // SAFETY: I1, each token has its own piece.
                        assert!(unsafe { device.submit(&io) });
                    }
                    assert_eq!(device.reap(&mut []), 0);
                });
                submitter.join().expect("ends");
            });
            let mut left = 32;
            let begun = Instant::now();
            while left != 0 {
                assert!(begun.elapsed() < Duration::from_secs(30), "{left} are never reported");
                let mut done = [IoDone::EMPTY; 32];
                let count = device.reap(&mut done);
                for done in &done[..count] {
                    assert!(matches!(done.result, Ok(_) | Err(libc::EINTR)), "{done:?}");
                    interrupted += u32::from(done.result.is_err());
                }
                left -= count;
                if count == 0 {
                    device.wait(1_000_000);
                }
            }
        }
        std::println!("{}: {interrupted} were interrupted", device.name());
    }
}
