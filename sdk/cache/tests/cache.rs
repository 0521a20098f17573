//! Entries are whole or not there, damage is found, and a prune takes what nobody needs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use evopress_cache::{Cache, Content, Entry, Manifest, State};
use proptest::prelude::*;
use serde_json::json;

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    (folder, cache)
}

/// A complete entry of two files, last used so many minutes ago.
fn made(cache: &Cache, key: &str, num_bytes: usize, minutes_ago: u64) -> Entry {
    let entry = cache.entry("levels", key).unwrap();
    let _alone = entry.lock_exclusive().unwrap();
    let mut manifest = Manifest::new("levels", key, "gptq on tiny", json!({"bits": [2, 3]}));
    for name in ["layer-0.safetensors", "layer-1.safetensors"] {
        let record = entry
            .commit_file(name, vec![7u8; num_bytes / 2].as_slice())
            .unwrap();
        manifest.files.insert(name.to_owned(), record);
    }
    manifest.is_complete = true;
    entry.save_manifest(&manifest).unwrap();
    used(&entry, minutes_ago);
    entry
}

fn used(entry: &Entry, minutes_ago: u64) {
    entry.touch().unwrap();
    let when = SystemTime::now() - Duration::from_secs(60 * minutes_ago);
    let file = File::options()
        .write(true)
        .open(entry.path().join("used"))
        .unwrap();
    file.set_modified(when).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|child| child.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn an_entry_is_found_again_with_all_that_was_written() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let again = Cache::at(cache.root()).entry("levels", "aa").unwrap();
    let manifest = again.load_manifest().manifest.unwrap();
    assert!(manifest.is_complete && manifest.title == "gptq on tiny");
    assert_eq!(manifest.files["layer-1.safetensors"].bytes, 500);
    assert_eq!(entry.verify(), []);
    let listed = cache.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, State::Complete);
    assert!(listed[0].size_bytes > 1000);
    assert!(Cache::at(Path::new("/nowhere")).list().unwrap().is_empty());
}

#[test]
fn damage_is_told_file_by_file() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let file = |name: &str| entry.path().join(name);
    let told = || -> Vec<String> {
        let all = entry.verify();
        all.into_iter()
            .map(|it| format!("{}: {}", it.file, it.reason))
            .collect()
    };
    let mut turned = vec![7u8; 500];
    turned[123] ^= 1;
    fs::write(file("layer-0.safetensors"), &turned).unwrap();
    let all = told();
    assert_eq!(all.len(), 1);
    assert!(
        all[0].starts_with("layer-0.safetensors: its SHA-256 begins with "),
        "{all:?}"
    );
    fs::write(file("layer-0.safetensors"), "short").unwrap();
    fs::remove_file(file("layer-1.safetensors")).unwrap();
    assert_eq!(
        told(),
        [
            "layer-0.safetensors: it has 5 bytes, expected 500",
            "layer-1.safetensors: it is missing"
        ]
    );
}

#[test]
fn a_manifest_that_cannot_be_used_is_as_good_as_absent() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let path = entry.path().join("manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    for (text, why) in [
        (good[..good.len() / 2].to_owned(), "it is damaged"),
        (
            good.replace("\"version\": 1", "\"version\": 2"),
            "it has version 2, expected 1",
        ),
        (
            good.replace("\"aa\"", "\"bb\""),
            "it belongs to another entry, levels bb",
        ),
        (String::new(), "it is damaged"),
    ] {
        assert_ne!(text, good);
        fs::write(&path, text).unwrap();
        let loaded = entry.load_manifest();
        assert_eq!(loaded.manifest, None);
        let warning = loaded.warning.unwrap();
        assert!(
            warning.contains(why) && warning.contains("manifest.json"),
            "{warning}"
        );
        assert_eq!(entry.verify()[0].file, "manifest.json");
        assert_eq!(cache.list().unwrap()[0].state, State::Unfinished);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(entry.load_manifest().warning, None);
    assert_eq!(entry.verify(), [], "nothing was promised");
}

#[test]
fn a_file_that_was_written_aside_is_moved_in_and_a_failure_leaves_nothing() {
    let (_folder, cache) = cache();
    let entry = cache.entry("levels", "aa").unwrap();
    let temporary = entry.temporary("layer-0.bin").unwrap();
    fs::write(&temporary, "weights").unwrap();
    let record = entry
        .commit_file("layer-0.bin", temporary.as_path())
        .unwrap();
    assert_eq!(record.bytes, 7);
    assert_eq!(entry.damage("layer-0.bin", &record), None);
    assert_eq!(names(entry.path()), ["layer-0.bin"]);

    fs::create_dir(entry.path().join("taken")).unwrap();
    fs::write(entry.path().join("taken/inside"), "").unwrap();
    let temporary = entry.temporary("taken").unwrap();
    fs::write(&temporary, "weights").unwrap();
    for content in [Content::Moved(&temporary), Content::Bytes(b"weights")] {
        let error = entry.commit_file("taken", content).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write ") && error.contains("taken: "),
            "{error}"
        );
        assert_eq!(names(entry.path()), ["layer-0.bin", "taken"]);
    }
    assert!(entry.commit_file("../outside", &b""[..]).is_err());
}

#[test]
fn builders_are_alone_and_users_are_together() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let other = Cache::at(cache.root()).entry("levels", "aa").unwrap();
    let building = entry.lock_exclusive().unwrap();
    assert!(other.try_lock_shared().unwrap().is_none());
    assert!(other.try_lock_exclusive().unwrap().is_none());
    assert_eq!(cache.list().unwrap()[0].state, State::Building);
    drop(building);
    let _one = entry.lock_shared().unwrap();
    let _two = other.try_lock_shared().unwrap().unwrap();
    assert!(other.try_lock_exclusive().unwrap().is_none());
    assert_eq!(cache.list().unwrap()[0].state, State::Complete);
}

/// `flock` holds the lock in a process of its own, as a worker would.
#[test]
fn another_process_that_dies_gives_its_lock_back() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let lock = entry.path().with_file_name("aa.lock");
    let mut holder = std::process::Command::new("flock")
        .args(["--no-fork", "--shared"])
        .arg(&lock)
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert!(entry.try_lock_exclusive().unwrap().is_none());
    assert_eq!(cache.prune(0, &|_| false).unwrap().removed, []);
    assert!(entry.verify().is_empty() && entry.path().is_dir());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(cache.prune(0, &|_| false).unwrap().removed.len(), 1);
}

#[test]
fn the_least_recently_used_entries_go_first_and_none_that_is_held_or_kept() {
    let (_folder, cache) = cache();
    let entries: Vec<Entry> = [("aa", 50), ("bb", 40), ("cc", 30), ("dd", 20), ("ee", 10)]
        .map(|(key, minutes)| made(&cache, key, 100_000, minutes))
        .into();
    let in_use = entries[0].lock_shared().unwrap();
    let pruned = cache
        .prune(250_000, &|listed| listed.entry.key() == "bb")
        .unwrap();
    let gone: Vec<&str> = pruned.removed.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(gone, ["cc", "dd", "ee"], "{pruned:?}");
    assert_eq!(pruned.removed[0].title, "gptq on tiny");
    assert_eq!((pruned.num_entries, pruned.failures.len()), (2, 0));
    assert!((200_000..250_000).contains(&pruned.size_bytes));
    assert!(pruned.freed_bytes() > 300_000);
    assert_eq!(
        names(&cache.root().join("levels")),
        ["aa", "aa.lock", "bb", "bb.lock"]
    );
    drop(in_use);
    used(&entries[0], 0);
    let pruned = cache.prune(150_000, &|_| false).unwrap();
    assert_eq!(pruned.removed[0].key, "bb", "aa was used since");
    assert_eq!(cache.prune(150_000, &|_| false).unwrap().removed, []);
}

#[test]
fn what_a_crash_leaves_is_no_entry_and_goes_with_the_next_prune() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let levels = cache.root().join("levels");
    // Killed while it removed one, while it wrote a file, and before it wrote anything.
    fs::create_dir(levels.join(".bb.7-0.removed")).unwrap();
    fs::write(levels.join(".bb.7-0.removed/manifest.json"), "{}").unwrap();
    fs::write(levels.join("bb.lock"), "").unwrap();
    let temporary = entry.temporary("layer-2.safetensors").unwrap();
    fs::write(&temporary, vec![0; 5000]).unwrap();
    cache.entry("levels", "cc").unwrap();
    fs::write(levels.join("README"), "put here by a person").unwrap();

    assert_eq!(cache.list().unwrap().len(), 2, "aa and the empty cc");
    let building = entry.lock_exclusive().unwrap();
    cache.prune(u64::MAX, &|_| false).unwrap();
    assert!(temporary.exists(), "its builder may be alive");
    drop(building);
    let pruned = cache.prune(u64::MAX, &|_| false).unwrap();
    assert_eq!((pruned.leftover_bytes, pruned.num_entries), (5000, 1));
    assert_eq!(names(&levels), ["README", "aa", "aa.lock"]);
    assert_eq!(entry.verify(), []);
}

#[test]
fn who_waits_for_an_entry_that_is_removed_gets_a_new_one() {
    let (_folder, cache) = cache();
    let entry = made(&cache, "aa", 1000, 0);
    let reading = entry.lock_shared().unwrap();
    let (sender, waiting) = mpsc::channel();
    let builder = {
        let entry = entry.clone();
        thread::spawn(move || {
            sender.send(()).unwrap();
            let _alone = entry.lock_exclusive().unwrap();
            entry.commit_file("layer-9.bin", &b"new"[..]).unwrap();
            entry.try_lock_shared().unwrap().is_none()
        })
    };
    waiting.recv().unwrap();
    // As a prune that got the lock first would have done.
    fs::rename(entry.path(), entry.path().with_file_name(".aa.1-1.removed")).unwrap();
    fs::remove_file(entry.path().with_file_name("aa.lock")).unwrap();
    drop(reading);
    assert!(
        builder.join().unwrap(),
        "the builder's lock is on the file that is there"
    );
    assert_eq!(names(entry.path()), ["layer-9.bin"]);
}

#[test]
fn a_cache_that_cannot_be_used_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cache::open(&file.join("cache")).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot create ") && error.contains("file/cache: Not a directory"),
        "{error}"
    );
    let error = Cache::at(&file).list().unwrap_err().to_string();
    assert!(error.starts_with("cannot read "), "{error}");
    let (_folder, cache) = cache();
    for key in ["..", "a/b", ""] {
        let error = cache.entry("levels", key).unwrap_err().to_string();
        assert!(error.contains("cannot be a key in the cache"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A prune frees enough, and not one entry more than that takes.
    #[test]
    fn a_prune_takes_just_enough(sizes in prop::collection::vec(1usize..4000, 1..6), limit in 0u64..12_000) {
        let (_folder, cache) = cache();
        for (idx, size) in sizes.iter().enumerate() {
            made(&cache, &format!("k{idx}"), *size, 100 - idx as u64);
        }
        let before: Vec<(String, u64)> = cache.list().unwrap().iter()
            .map(|it| (it.entry.key().to_owned(), it.size_bytes)).collect();
        let pruned = cache.prune(limit, &|_| false).unwrap();
        let mut left: u64 = before.iter().map(|it| it.1).sum();
        let mut expected = Vec::new();
        for (key, bytes) in &before {
            if left <= limit { break; }
            left -= bytes;
            expected.push(key.clone());
        }
        let gone: Vec<String> = pruned.removed.iter().map(|it| it.key.clone()).collect();
        prop_assert_eq!(gone, expected);
        prop_assert_eq!(pruned.size_bytes, left);
        let found: u64 = cache.list().unwrap().iter().map(|it| it.size_bytes).sum();
        prop_assert_eq!(found, left);
    }

    /// Any change of any byte of any file is found.
    #[test]
    fn any_changed_byte_is_found(at in 0usize..500, by in 1u8.., second in any::<bool>()) {
        let (_folder, cache) = cache();
        let entry = made(&cache, "aa", 1000, 0);
        let name = if second { "layer-1.safetensors" } else { "layer-0.safetensors" };
        let mut bytes = fs::read(entry.path().join(name)).unwrap();
        bytes[at] ^= by;
        fs::write(entry.path().join(name), bytes).unwrap();
        let damage = entry.verify();
        prop_assert_eq!(damage.len(), 1);
        prop_assert_eq!(&damage[0].file, name);
    }
}
