//! The key functions against the vectors of an independent implementation (`tests/vectors/make_keys.py`).

use std::num::NonZeroUsize;

use kvcache::key::{KEY_BYTES, Key};

const VECTORS_TEXT: &str = include_str!("vectors/keys.txt");
const VECTORS_JSON: &str = include_str!("vectors/keys.json");

fn bytes(field: &str) -> Vec<u8> {
    let digits = field.strip_prefix('-').unwrap_or(field);
    assert!(digits.len().is_multiple_of(2), "half a byte in {field}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn number(field: &str) -> u64 {
    assert_eq!(field.len(), 16);
    u64::from_str_radix(field, 16).unwrap()
}

fn tokens(field: &str) -> Vec<u32> {
    bytes(field)
        .chunks(4)
        .map(|token| u32::from_be_bytes(token.try_into().unwrap()))
        .collect()
}

fn keys(field: &str) -> Vec<Key> {
    bytes(field)
        .chunks(KEY_BYTES)
        .map(|key| Key {
            bytes: key.try_into().unwrap(),
        })
        .collect()
}

fn key(field: &str) -> Key {
    let [key] = keys(field)[..] else {
        panic!("not one key: {field}")
    };
    key
}

fn cases() -> impl Iterator<Item = Vec<&'static str>> {
    VECTORS_TEXT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
}

#[test]
fn the_library_agrees_with_every_vector() {
    let (mut derived, mut roots, mut chained, mut many) = (0, 0, 0, 0);
    for case in cases() {
        match case[..] {
            ["derive", namespace, salt, input, expected] => {
                assert_eq!(
                    Key::derive(number(namespace), &bytes(salt), &bytes(input)),
                    key(expected),
                    "{case:?}"
                );
                derived += 1;
            }
            ["root", namespace, salt, expected] => {
                assert_eq!(
                    Key::chain_root(number(namespace), &bytes(salt)),
                    key(expected),
                    "{case:?}"
                );
                roots += 1;
            }
            ["chain", parent, input, expected] => {
                assert_eq!(Key::chain(&key(parent), &tokens(input)), key(expected), "{case:?}");
                chained += 1;
            }
            ["many", parent, tokens_per_block, input, expected] => {
                let tokens_per_block = NonZeroUsize::new(number(tokens_per_block) as usize).unwrap();
                let mut actual = Vec::new();
                let tokens = tokens(input);
                let count = Key::chain_each(&key(parent), &tokens, tokens_per_block, |key| actual.push(key));
                assert_eq!(actual, keys(expected), "{case:?}");
                assert_eq!(count, actual.len());

                let mut filled = vec![Key { bytes: [0; KEY_BYTES] }; actual.len() + 1];
                assert_eq!(
                    Key::chain_many(&key(parent), &tokens, tokens_per_block, &mut filled),
                    count
                );
                assert_eq!(filled[..count], actual);
                many += 1;
            }
            _ => panic!("not a case: {case:?}"),
        }
    }
    // A truncated file would otherwise pass.
    assert!(
        derived >= 100 && roots >= 20 && chained >= 36 && many >= 30,
        "{derived} {roots} {chained} {many}"
    );
}

#[test]
fn both_vector_files_hold_the_same_keys_in_the_same_order() {
    let mut json_rows = VECTORS_JSON.lines().filter(|line| line.contains("\"kind\""));
    for case in cases() {
        let row = json_rows.next().expect("fewer cases in the JSON file");
        assert!(row.contains(&format!("\"kind\": \"{}\"", case[0])), "{row}");
        for key in keys(case[case.len() - 1]) {
            assert!(row.contains(&format!("\"{key}\"")), "{key} is not in {row}");
        }
    }
    assert!(json_rows.next().is_none(), "more cases in the JSON file");
}

#[test]
fn a_chain_can_be_continued_from_its_last_key() {
    let root = Key::chain_root(1, b"model");
    let tokens: Vec<u32> = (0..64).collect();
    let per_block = NonZeroUsize::new(16).unwrap();
    let mut whole = [root; 4];
    assert_eq!(Key::chain_many(&root, &tokens, per_block, &mut whole), 4);
    let mut rest = [root; 2];
    assert_eq!(Key::chain_many(&whole[1], &tokens[32..], per_block, &mut rest), 2);
    assert_eq!(rest, whole[2..]);
}
