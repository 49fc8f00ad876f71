//! A trace in memory: flat lists, so that going through them calls no heap.

use std::path::Path;

use super::{Line, Reader, TraceError};

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where its block numbers begin in the list of all.
    first: usize,
    /// How many there are.
    count: usize,
    /// Tokens of the prompt.
    input_tokens: u64,
    /// The conversation, from 1; 0 is none.
    pub conversation: u64,
}

impl Request {
    /// Tokens of the block at `place`, where full blocks have `block_tokens`: the last one has what is left.
    pub fn tokens(&self, place: usize, block_tokens: u64) -> u64 {
        if place + 1 < self.count {
            return block_tokens;
        }
        let before = block_tokens * place as u64;
        self.input_tokens.saturating_sub(before).clamp(1, block_tokens)
    }
}

/// The requests of a trace.
#[derive(Debug, Default)]
pub struct Requests {
    ids: Vec<u64>,
    list: Vec<Request>,
}

impl Requests {
    /// Reads a trace, its first `count_max` requests only.
    ///
    /// # Errors
    /// What is wrong, with the line; also a trace without any block.
    pub fn read(path: &Path, count_max: usize) -> Result<Self, TraceError> {
        let mut requests = Self::default();
        let mut reader = Reader::open(path)?;
        let mut line = Line::default();
        while requests.list.len() < count_max && reader.read(&mut line)? {
            requests.add(&line);
        }
        if requests.ids.is_empty() {
            return Err(TraceError::at(path, 0, "there is no block in this trace"));
        }
        Ok(requests)
    }

    fn add(&mut self, line: &Line) {
        self.list.push(Request {
            first: self.ids.len(),
            count: line.hash_ids.len(),
            input_tokens: line.input_length,
            conversation: line.session.map_or(0, |session| session.wrapping_add(1)),
        });
        self.ids.extend_from_slice(&line.hash_ids);
    }

    /// All of them, in order.
    pub fn list(&self) -> &[Request] {
        &self.list
    }

    /// The numbers of a request's blocks.
    pub fn ids(&self, request: &Request) -> &[u64] {
        &self.ids[request.first..request.first + request.count]
    }

    /// Blocks of all requests.
    pub fn blocks_count(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Most blocks of one request.
    pub fn blocks_count_max(&self) -> usize {
        self.list.iter().map(|request| request.count).max().unwrap_or(0)
    }

    /// Different blocks.
    pub fn blocks_unique(&self) -> u64 {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        ids.len() as u64
    }

    /// Tokens of a full block: traces do not say, but it is the power of two nearest to what requests have on average.
    pub fn block_tokens(&self) -> u64 {
        let tokens = self.list.iter().map(|request| request.input_tokens).sum();
        block_tokens(tokens, self.blocks_count())
    }
}

/// Tokens of a full block where requests of so many blocks have so many tokens: the nearest power of two.
pub fn block_tokens(tokens: u64, blocks: u64) -> u64 {
    let each = tokens as f64 / blocks as f64;
    each.max(1.0).log2().round().exp2() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(of: &[(u64, &[u64])]) -> Requests {
        let mut requests = Requests::default();
        for &(input_length, ids) in of {
            let text =
                format!(r#"{{"timestamp":0,"input_length":{input_length},"output_length":1,"hash_ids":{ids:?}}}"#);
            requests.add(&serde_json::from_str(&text).unwrap());
        }
        requests
    }

    #[test]
    fn the_last_block_of_a_request_may_be_short() {
        let requests = requests(&[(1100, &[1, 2, 3]), (512, &[1]), (2048, &[1, 2, 3, 9])]);
        assert_eq!(requests.block_tokens(), 512);
        assert_eq!((requests.blocks_count(), requests.blocks_unique()), (8, 4));
        assert_eq!(requests.blocks_count_max(), 4);
        let [first, second, third] = requests.list() else {
            panic!("three requests");
        };
        assert_eq!([0, 1, 2].map(|place| first.tokens(place, 512)), [512, 512, 76]);
        assert_eq!((second.tokens(0, 512), third.tokens(3, 512)), (512, 512));
        assert_eq!(requests.ids(third), [1, 2, 3, 9]);
    }
}
