//! A reader of the one form that nearly every line of a trace has, several times as fast as a general one.
//!
//! It knows the fields of [`Line`] in any order and passes over further fields with plain values. Whatever else it
//! meets, it gives up: the general reader has the last word on what a line means and on what is wrong with it.

use super::Line;

/// Most digits of a number that can't overflow.
const DIGITS_MAX: usize = 19;

const TIMESTAMP: u8 = 1;
const INPUT_LENGTH: u8 = 2;
const OUTPUT_LENGTH: u8 = 4;
const HASH_IDS: u8 = 8;
const REQUIRED: u8 = TIMESTAMP | INPUT_LENGTH | OUTPUT_LENGTH | HASH_IDS;
const SESSION: u8 = 16;

/// Reads a line into `line`, whose list keeps its memory. `false`: this form does not fit, and what `line` holds means
/// nothing.
pub fn scan(text: &[u8], line: &mut Line) -> bool {
    line.hash_ids.clear();
    line.session = None;
    Scanner { text, at: 0 }.object(line).is_some()
}

/// A place in a line. Everything answers `None` where it gives up.
struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scanner<'t> {
    fn object(&mut self, line: &mut Line) -> Option<()> {
        let mut seen = 0;
        self.expect(b'{')?;
        loop {
            self.blanks();
            let field = match self.string()? {
                b"timestamp" => TIMESTAMP,
                b"input_length" => INPUT_LENGTH,
                b"output_length" => OUTPUT_LENGTH,
                b"hash_ids" => HASH_IDS,
                b"session" => SESSION,
                _ => 0,
            };
            if seen & field != 0 {
                return None;
            }
            seen |= field;
            self.blanks();
            self.expect(b':')?;
            self.blanks();
            match field {
                TIMESTAMP => line.timestamp = self.decimal()?,
                INPUT_LENGTH => line.input_length = self.integer()?,
                OUTPUT_LENGTH => line.output_length = self.integer()?,
                HASH_IDS => self.list(&mut line.hash_ids)?,
                SESSION if self.text[self.at..].starts_with(b"null") => self.at += 4,
                SESSION => line.session = Some(self.integer()?),
                _ => self.plain()?,
            }
            self.blanks();
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        (seen & REQUIRED == REQUIRED && self.at == self.text.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// A string of printable ASCII without escapes.
    fn string(&mut self) -> Option<&'t [u8]> {
        self.expect(b'"')?;
        let first = self.at;
        loop {
            match self.next()? {
                b'"' => return Some(&self.text[first..self.at - 1]),
                b'\\' => return None,
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    /// An integer, ended by something that can't belong to a number.
    fn integer(&mut self) -> Option<u64> {
        let first = self.at;
        let mut number = 0_u64;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            // Wraps only where there are too many digits.
            number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        let leading_zero = digits > 1 && self.text[first] == b'0';
        let goes_on = matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        ((1..=DIGITS_MAX).contains(&digits) && !leading_zero && !goes_on).then_some(number)
    }

    /// Any number, read as the general reader does.
    fn decimal(&mut self) -> Option<f64> {
        let first = self.at;
        while let Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') = self.peek() {
            self.at += 1;
        }
        serde_json::from_slice(&self.text[first..self.at]).ok()
    }

    fn list(&mut self, numbers: &mut Vec<u64>) -> Option<()> {
        self.expect(b'[')?;
        self.blanks();
        if self.peek()? == b']' {
            return self.expect(b']');
        }
        loop {
            self.blanks();
            numbers.push(self.integer()?);
            self.blanks();
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Passes over a value that is neither a list nor an object.
    fn plain(&mut self) -> Option<()> {
        if self.peek()? == b'"' {
            return self.string().map(|_| ());
        }
        for word in [&b"true"[..], b"false", b"null"] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Some(());
            }
        }
        self.decimal().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanned(text: &str) -> Option<Line> {
        // What the line before left behind must not shine through.
        let mut line = Line {
            session: Some(99),
            hash_ids: vec![98],
            ..Line::default()
        };
        scan(text.as_bytes(), &mut line).then_some(line)
    }

    /// Values that the scanner takes, others that it must leave alone, and others that are wrong.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => any::<u64>().prop_map(|number| number.to_string()),
            4 => (0_u64..100_000).prop_map(|number| number.to_string()),
            1 => any::<f64>().prop_filter("no JSON", |number| number.is_finite()).prop_map(|n| format!("{n:?}")),
            8 => proptest::collection::vec(0_u64..1 << 40, 0..6).prop_map(|list| format!("{list:?}")),
            1 => Just("[1,\t2 ,3\r]".into()),
            1 => "[-+.eE0-9]{1,6}",
            1 => prop_oneof![
                Just("null"), Just("true"), Just("false"), Just("nul"), Just("\"a b\""), Just("\"\\u0041\""),
                Just("\"ä\""), Just("{}"), Just("[[1]]"), Just("[1,]"), Just("[,]"), Just("[1 2]"), Just("[01]"),
                Just("[1.0]"), Just("[1e2]"), Just("[-1]"), Just("01"), Just(""), Just("\"a"), Just("1 2"),
            ].prop_map(String::from),
        ]
    }

    fn field() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("timestamp"),
            Just("input_length"),
            Just("output_length"),
            Just("hash_ids"),
            Just("session"),
            Just("other"),
            Just("hash\\u005fids"),
        ];
        (
            name,
            value(),
            prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\t")],
        )
            .prop_map(|(name, value, blank)| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}"))
    }

    fn text() -> impl Strategy<Value = String> {
        let sound = (
            any::<u64>(),
            any::<f64>(),
            any::<u64>(),
            proptest::collection::vec(any::<u64>(), 0..5),
        );
        let sound = (sound, proptest::collection::vec(field(), 0..3))
            .prop_filter("no JSON", |((_, time, ..), _)| time.is_finite())
            .prop_map(|((input, time, output, ids), more)| {
                let mut fields = vec![
                    format!("\"input_length\":{input}"),
                    format!("\"timestamp\": {time:?}"),
                    format!("\"output_length\":{output}"),
                    format!("\"hash_ids\": {ids:?}"),
                ];
                fields.extend(more);
                fields
            })
            .prop_shuffle();
        let any = proptest::collection::vec(field(), 0..7);
        let end = prop_oneof![6 => Just("}"), 1 => Just(""), 1 => Just(",}"), 1 => Just("}}"), 1 => Just("} x")];
        (prop_oneof![2 => sound, 1 => any], end).prop_map(|(fields, end)| format!("{{{}{end}", fields.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

        /// Where the scanner gives an answer, it is the general reader's.
        #[test]
        fn it_reads_what_the_general_reader_reads(text in text()) {
            let general: Result<Line, _> = serde_json::from_str(&text);
            if let Some(line) = scanned(&text) {
                prop_assert_eq!(line, general.unwrap());
            }
        }
    }

    #[test]
    fn the_lines_of_the_common_traces_are_read_fast() {
        let right = Line {
            timestamp: 76328.0,
            input_length: 18484,
            output_length: 228,
            hash_ids: vec![0, 1, 77],
            session: None,
        };
        for text in [
            r#"{"timestamp": 76328, "input_length": 18484, "output_length": 228, "hash_ids": [0, 1, 77]}"#,
            r#"{"hash_ids":[0,1,77],"timestamp":76328.0,"output_length":228,"input_length":18484}"#,
            r#"{"type":"a b","timestamp":76328,"input_length":18484,"output_length":228,"turn":1,"hash_ids":[0,1,77]}"#,
        ] {
            assert_eq!(scanned(text).as_ref(), Some(&right), "{text}");
        }
        let with_session = scanned(r#"{"timestamp":1,"input_length":1,"session":5,"output_length":1,"hash_ids":[]}"#);
        assert_eq!(with_session.unwrap().session, Some(5));
        assert!(scanned(r#"{"timestamp":1,"input_length":1,"output_length":1}"#).is_none());
    }

    #[test]
    fn what_it_does_not_know_for_sure_it_leaves_alone() {
        const GOOD: &str =
            r#"{"timestamp":1,"input_length":2,"output_length":3,"hash_ids":[4],"session":5,"type":"a"}"#;
        assert!(scanned(GOOD).is_some());
        for (part, other) in [
            (":2", ":02"),
            (":2", ":"),
            (":2", ":-2"),
            (":2", ":2.0"),
            (":2", ":2e1"),
            (":2", ":18446744073709551616"),
            (":2", ":99999999999999999999"),
            (":1", ":01"),
            (":1", ":1e999"),
            (":1", ":\"1\""),
            ("[4]", "[04]"),
            ("[4]", "[4,]"),
            ("[4]", "[,4]"),
            ("[4]", "[4 4]"),
            ("[4]", "[4"),
            ("[4]", "[4.5]"),
            ("[4]", "4"),
            (":5", ":nul"),
            (":5", ":0x5"),
            ("\"a\"", "\"a"),
            ("\"a\"", "\"\\n\""),
            ("\"a\"", "\"\u{7f}\""),
            ("\"a\"", "\"\u{1}\""),
            ("\"a\"", "[]"),
            ("\"a\"", "{}"),
            ("type", "session"),
            ("hash_ids", "hash_id"),
            ("}", ""),
            ("}", "},"),
            ("}", ",}"),
            ("{", "{,"),
            ("{", "[{"),
        ] {
            let text = GOOD.replace(part, other);
            assert!(text != GOOD && scanned(&text).is_none(), "{text}");
        }
    }
}
