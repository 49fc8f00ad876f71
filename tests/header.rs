//! `include/kvcache.h` is what the documented sources say, to the byte.
//!
//! Each file of `src/capi` that is listed in `HEADER_CHAPTERS` becomes a chapter: its module documentation is the
//! chapter's text, and cbindgen makes the declarations. To take a change over:
//!
//! ```text
//! KVC_HEADER_WRITE=1 cargo test --features capi --test header
//! ```
#![cfg(feature = "capi")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use kvcache::capi::*;

const WIDTH: usize = 118;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The part of a file's module documentation that is for C programmers: everything before `# Soundness`.
fn module_text(source: &str) -> Vec<String> {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned());
    let mut lines: Vec<String> = lines.take_while(|line| line != "# Soundness").collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Markdown as text for a comment: fences become indentation, headings capitals, code marks go, and what is left is
/// filled again.
fn plain_text(lines: &[String]) -> Vec<String> {
    let room = WIDTH - 3;
    let mut plain: Vec<String> = Vec::new();
    let mut paragraph = String::new();
    let flush = |plain: &mut Vec<String>, paragraph: &mut String| {
        let text = std::mem::take(paragraph);
        match text.strip_prefix("- ") {
            None if text.is_empty() => {}
            None => plain.extend(fill(&text, room)),
            Some(item) => {
                let lines = fill(item, room - 2);
                let marked = lines.iter().enumerate();
                plain.extend(marked.map(|(place, line)| format!("{}{line}", if place == 0 { "- " } else { "  " })));
            }
        }
    };
    let mut fenced = false;
    for line in lines {
        let text = line.replace('`', "");
        if line.starts_with("```") {
            flush(&mut plain, &mut paragraph);
            fenced = !fenced;
        } else if fenced {
            plain.push(if line.is_empty() {
                String::new()
            } else {
                format!("    {line}")
            });
        } else if let Some(heading) = line.strip_prefix("# ") {
            plain.push(heading.to_uppercase());
        } else if line.is_empty() {
            flush(&mut plain, &mut paragraph);
            plain.push(String::new());
        } else {
            if line.starts_with("- ") {
                flush(&mut plain, &mut paragraph);
            }
            let between = if paragraph.is_empty() { "" } else { " " };
            write!(paragraph, "{between}{}", text.trim_start()).unwrap();
        }
    }
    flush(&mut plain, &mut paragraph);
    plain
}

fn comment(target: &mut String, lines: &[String]) {
    for (place, line) in lines.iter().enumerate() {
        assert!(
            !line.contains("*/") && !line.contains("/*"),
            "a comment within a comment: {line}"
        );
        let start = if place == 0 { "/* " } else { " * " };
        writeln!(target, "{}", format!("{start}{line}").trim_end()).unwrap();
    }
    target.push_str(" */\n");
}

fn chapter_heading(target: &mut String, lines: &[String]) {
    let rule = "=".repeat(WIDTH - 3);
    let mut lines = lines.to_vec();
    lines[0] = lines[0].trim_end_matches('.').to_uppercase();
    lines.insert(0, rule.clone());
    lines.insert(2, rule);
    comment(target, &lines);
}

/// Fills paragraphs of comments again: without the code marks they are ragged, and cbindgen indents some of them.
fn refill_comments(text: &str) -> String {
    let mut target = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim_start() != "/**" {
            target.push_str(line);
            target.push('\n');
            continue;
        }
        let mut paragraphs: Vec<String> = vec![String::new()];
        for line in lines.by_ref() {
            let line = line.trim();
            if line == "*/" {
                break;
            }
            let line = line
                .strip_prefix('*')
                .unwrap_or_else(|| panic!("no comment: {line}"))
                .trim();
            if line.is_empty() {
                paragraphs.push(String::new());
            } else {
                let paragraph = paragraphs.last_mut().unwrap();
                if !paragraph.is_empty() {
                    paragraph.push(' ');
                }
                paragraph.push_str(line);
            }
        }
        let room = WIDTH - indent.len() - 3;
        let mut filled: Vec<String> = Vec::new();
        for paragraph in paragraphs.iter().filter(|paragraph| !paragraph.is_empty()) {
            if !filled.is_empty() {
                filled.push(String::new());
            }
            filled.extend(fill(&paragraph.replace('`', ""), room));
        }
        let single = filled.len() == 1 && filled[0].len() + 6 + indent.len() <= WIDTH;
        if single {
            writeln!(target, "{indent}/* {} */", filled[0]).unwrap();
            continue;
        }
        for (place, line) in filled.iter().enumerate() {
            let start = if place == 0 { "/* " } else { " * " };
            writeln!(target, "{indent}{}", format!("{start}{line}").trim_end()).unwrap();
        }
        writeln!(target, "{indent} */").unwrap();
    }
    target
}

fn fill(paragraph: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if !line.is_empty() && line.len() + 1 + word.len() > room {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Negative numbers in parentheses, so that they stay one number in every expression.
fn guard_negatives(text: &str) -> String {
    let mut target = String::new();
    for line in text.lines() {
        match line.strip_prefix("#define ").and_then(|rest| rest.split_once(" -")) {
            Some((name, number)) => writeln!(target, "#define {name} (-{number})").unwrap(),
            None => writeln!(target, "{line}").unwrap(),
        }
    }
    target
}

/// Types are used without the word `struct`: there is a typedef of each.
fn use_typedefs(text: &str) -> String {
    let mut target = String::new();
    for line in text.lines() {
        if line.starts_with("typedef ") {
            target.push_str(line);
        } else {
            target.push_str(&line.replace("struct kvc_", "kvc_"));
        }
        target.push('\n');
    }
    target
}

fn declarations(path: &Path) -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    // All of a chapter's structs belong into it, not only those that its own functions use.
    let source = fs::read_to_string(path).unwrap();
    let structs = source.lines().filter_map(|line| line.strip_prefix("pub struct "));
    config.export.include = structs.map(|rest| rest.split_once(' ').unwrap().0.to_owned()).collect();
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(path)
        .generate()
        .unwrap();
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    let text = use_typedefs(&guard_negatives(&String::from_utf8(bytes).unwrap()));
    refill_comments(text.trim_matches('\n'))
}

/// Sizes of everything that crosses by pointer, as Rust sees them.
const SIZES: &[(&str, usize)] = &[
    ("kvc_key_t", size_of::<kvc_key_t>()),
    ("kvc_block_t", size_of::<kvc_block_t>()),
    ("kvc_pin_t", size_of::<kvc_pin_t>()),
    ("kvc_lane_t", size_of::<kvc_lane_t>()),
    ("kvc_ticket_t", size_of::<kvc_ticket_t>()),
    ("kvc_view_t", size_of::<kvc_view_t>()),
    ("kvc_reservation_t", size_of::<kvc_reservation_t>()),
    ("kvc_item_t", size_of::<kvc_item_t>()),
    ("kvc_op_t", size_of::<kvc_op_t>()),
    ("kvc_done_t", size_of::<kvc_done_t>()),
    ("kvc_event_t", size_of::<kvc_event_t>()),
    ("kvc_component_t", size_of::<kvc_component_t>()),
    ("kvc_geometry_t", size_of::<kvc_geometry_t>()),
    ("kvc_config_t", size_of::<kvc_config_t>()),
    ("kvc_plan_t", size_of::<kvc_plan_t>()),
    ("kvc_error_t", size_of::<kvc_error_t>()),
    ("kvc_put_info_t", size_of::<kvc_put_info_t>()),
    ("kvc_stats_t", size_of::<kvc_stats_t>()),
    ("kvc_capacity_t", size_of::<kvc_capacity_t>()),
    ("kvc_histogram_t", size_of::<kvc_histogram_t>()),
    ("kvc_pin_info_t", size_of::<kvc_pin_info_t>()),
    ("kvc_tier_t", size_of::<kvc_tier_t>()),
    ("kvc_paged_t", size_of::<kvc_paged_t>()),
    ("kvc_codec_layer_t", size_of::<kvc_codec_layer_t>()),
    ("kvc_codec_config_t", size_of::<kvc_codec_config_t>()),
    ("kvc_codec_description_t", size_of::<kvc_codec_description_t>()),
    ("kvc_codec_info_t", size_of::<kvc_codec_info_t>()),
    ("kvc_codec_samples_t", size_of::<kvc_codec_samples_t>()),
    ("kvc_codec_tables_info_t", size_of::<kvc_codec_tables_info_t>()),
];

/// Structs with a `struct_size`, and the initializer of each.
const INITIALIZERS: &[(&str, &str)] = &[
    ("KVC_GEOMETRY_INIT", "kvc_geometry_t"),
    ("KVC_CONFIG_INIT", "kvc_config_t"),
    ("KVC_PLAN_INIT", "kvc_plan_t"),
    ("KVC_ERROR_INIT", "kvc_error_t"),
    ("KVC_PUT_INFO_INIT", "kvc_put_info_t"),
    ("KVC_STATS_INIT", "kvc_stats_t"),
    ("KVC_CAPACITY_INIT", "kvc_capacity_t"),
    ("KVC_HISTOGRAM_INIT", "kvc_histogram_t"),
    ("KVC_PIN_INFO_INIT", "kvc_pin_info_t"),
    ("KVC_TIER_INIT", "kvc_tier_t"),
    ("KVC_PAGED_INIT", "kvc_paged_t"),
    ("KVC_CODEC_CONFIG_INIT", "kvc_codec_config_t"),
    ("KVC_CODEC_DESCRIPTION_INIT", "kvc_codec_description_t"),
    ("KVC_CODEC_INFO_INIT", "kvc_codec_info_t"),
    ("KVC_CODEC_SAMPLES_INIT", "kvc_codec_samples_t"),
    ("KVC_CODEC_TABLES_INFO_INIT", "kvc_codec_tables_info_t"),
];

fn initializers(target: &mut String) {
    let lines = [
        "=".repeat(WIDTH - 3),
        "INITIALIZERS AND SIZES".to_owned(),
        "=".repeat(WIDTH - 3),
        String::new(),
        "Everything zero but struct_size: kvc_config_t config = KVC_CONFIG_INIT;".to_owned(),
    ];
    comment(target, &lines);
    target.push_str("#ifdef __cplusplus\n");
    target.push_str("} /* extern \"C\" */\n");
    target.push_str("template <class T> inline T kvc_sized_() {\n");
    target.push_str("    T value = T();\n    value.struct_size = sizeof(T);\n    return value;\n}\n");
    target.push_str("#define KVC_SIZED_(type) (kvc_sized_<type>())\n");
    target.push_str("#define KVC_ASSERT_(condition, text) static_assert(condition, text)\n");
    target.push_str("extern \"C\" {\n");
    target.push_str("#else\n");
    target.push_str("#define KVC_SIZED_(type) {.struct_size = sizeof(type)}\n");
    target.push_str("#define KVC_ASSERT_(condition, text) _Static_assert(condition, text)\n");
    target.push_str("#endif\n\n");
    for (name, of) in INITIALIZERS {
        writeln!(target, "#define {name} KVC_SIZED_({of})").unwrap();
    }
    target.push('\n');
    for (name, bytes) in SIZES {
        writeln!(
            target,
            "KVC_ASSERT_(sizeof({name}) == {bytes}, \"{name} has {bytes} bytes\");"
        )
        .unwrap();
    }
}

fn header() -> String {
    let capi = root().join("src/capi");
    let read = |name: &str| fs::read_to_string(capi.join(name).with_extension("rs")).unwrap();
    let mut target = String::new();
    comment(&mut target, &plain_text(&module_text(&read("mod"))));
    target.push_str("#ifndef KVCACHE_H\n#define KVCACHE_H\n\n#include <stdint.h>\n\n");
    target.push_str("#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    for chapter in HEADER_CHAPTERS {
        chapter_heading(&mut target, &plain_text(&module_text(&read(chapter))));
        target.push('\n');
        target.push_str(declarations(&capi.join(chapter).with_extension("rs")).trim_matches('\n'));
        target.push_str("\n\n");
    }
    initializers(&mut target);
    target.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* KVCACHE_H */\n");
    target
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = root().join("include/kvcache.h");
    let generated = header();
    if env::var_os("KVC_HEADER_WRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    let differs = checked_in
        .lines()
        .zip(generated.lines())
        .position(|(left, right)| left != right);
    assert!(
        checked_in == generated,
        "include/kvcache.h differs from the sources, first at line {}; \
         take the change over with KVC_HEADER_WRITE=1 cargo test --features capi --test header",
        differs.map_or(checked_in.lines().count().min(generated.lines().count()), |line| line) + 1
    );
}

#[test]
fn every_growable_struct_has_an_initializer_and_every_struct_an_asserted_size() {
    let header = header();
    for line in header.lines() {
        let Some(name) = line
            .strip_prefix("typedef struct ")
            .and_then(|rest| rest.strip_suffix(" {"))
        else {
            continue;
        };
        assert!(
            SIZES.iter().any(|(other, _)| *other == name),
            "{name} has no asserted size"
        );
        let body = header.split_once(line).unwrap().1.split_once("\n}").unwrap().0;
        let growable = body.contains("uint64_t struct_size;");
        let initializer = INITIALIZERS.iter().any(|(_, other)| *other == name);
        assert_eq!(growable, initializer, "{name}");
    }
}

/// What a manual has to say about a function, where the function is declared.
#[test]
fn every_function_says_its_threads_its_memory_and_its_statuses() {
    let header = header();
    let mut functions_count = 0;
    for (at, _) in header.match_indices(" */\nkvc_status_t kvc_") {
        let comment = &header[header[..at].rfind("/*").unwrap()..at];
        let name = header[at..]
            .split_once("kvc_status_t ")
            .unwrap()
            .1
            .split_once('(')
            .unwrap()
            .0;
        for word in ["Threads:", "Memory:"] {
            assert!(comment.contains(word), "{name} does not say {word}");
        }
        let keys_chapter_says_it = name.starts_with("kvc_key_");
        assert!(
            comment.contains("Statuses:") || keys_chapter_says_it,
            "{name} does not say Statuses:"
        );
        functions_count += 1;
    }
    let declared = header.matches("\nkvc_status_t kvc_").count();
    assert_eq!(functions_count, declared, "a function without a comment");
    assert!(functions_count > 40);
}
