//! Reads a pickle as plain data.
//!
//! PyTorch writes the structure of a checkpoint (names, shapes, where the numbers lie) as a Python
//! pickle. Python *runs* a pickle; here it is only read: classes and calls are kept as names, and
//! nothing from the file is ever executed. What comes next is [`super::torch_zip`], which finds
//! the tensors in it.
//!
//! This reader exists beside candle's because a checkpoint is a download: candle's panics on short
//! tuples, overflows the stack on deep ones, prints to stderr, and reads a dict that is stored
//! twice as empty the second time. Here values lie in one arena and refer to each other by index,
//! so memory is linear in the file's size, sharing and cycles cost nothing, and nothing recurses.

use std::collections::HashMap;

/// Index of a value in its [`Pickle`].
pub(super) type Id = usize;

/// What a pickle can hold, as far as a checkpoint needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `None`, `True`, `False`, floats, bytes and integers beyond 64 bits: nothing we look into.
    Opaque,
    /// An integer.
    Int(i64),
    /// A string.
    Text(String),
    /// A class or function, by name.
    Global(String, String),
    /// A tuple, list or set.
    Sequence(Vec<Id>),
    /// A dict of any class, in the order of the file.
    Dict(Vec<(Id, Id)>),
    /// A call or construction that Python would carry out: what is called, and its arguments.
    Call(Id, Id),
    /// A reference to something outside the pickle: for PyTorch, a storage.
    Persistent(Id),
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle of protocol 2 to 5 (as binary opcodes; PyTorch writes 2).
    ///
    /// # Errors
    /// A sentence saying what is wrong with the bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, ..Machine::default() };
        let root = loop {
            if let Some(root) = machine.step()? {
                break root;
            }
        };
        Ok(Self { values: machine.values, root })
    }

    /// The object that was pickled.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The value behind an index.
    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Opaque)
    }

    /// The string behind an index.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer behind an index, where it is not negative.
    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The items of a tuple, list or set; none where it is something else.
    pub(super) fn items(&self, id: Id) -> &[Id] {
        match self.get(id) {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The entries of a dict.
    pub(super) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// `module.name` of a class or function.
    pub(super) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Value::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }
}

/// The machine whose program a pickle is: a stack of values with marks, and a memo.
#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl Machine<'_> {
    /// Carries out one opcode; the root object where it was the last.
    fn step(&mut self) -> Result<Option<Id>, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'(' => self.marks.push(self.stack.len()),
            // POP; and BUILD, the attributes of an object: no tensor of a state dict lies there
            b'0' | b'b' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'h' | b'j' | b'q' | b'r' | 0x94 => self.memo(opcode)?,
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(opcode)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.string(opcode)?,
            b'N' | 0x88 | 0x89 => self.push(Value::Opaque),
            b'G' => {
                self.skip(8)?;
                self.push(Value::Opaque);
            }
            b'c' | 0x93 => self.global(opcode)?,
            b')' | b']' | 0x8f | b't' | b'l' | 0x91 | 0x85..=0x87 => self.sequence(opcode)?,
            b'a' | b'e' | 0x90 => self.extend(opcode)?,
            b'}' | b'd' | b's' | b'u' => self.dict(opcode)?,
            b'R' | 0x81 | 0x92 => self.call(opcode)?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            other => {
                return Err(format!("its pickle holds opcode 0x{other:02x}, which is not read"));
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.position.checked_add(count);
        let bytes = end.and_then(|end| self.bytes.get(self.position..end));
        self.position = self.position.saturating_add(count);
        bytes.ok_or_else(|| "its pickle ends in the middle".to_string())
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count).map(|_| ())
    }

    /// A little-endian number of `count` bytes (at most 8), without sign.
    fn number(&mut self, count: usize) -> Result<u64, String> {
        let bytes = self.take(count)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
    }

    fn length(&mut self, count: usize) -> Result<usize, String> {
        let number = self.number(count)?;
        usize::try_from(number).map_err(|_| "its pickle holds an impossible length".to_string())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or("its pickle ends in the middle")?;
        let line = self.take(length + 1)?;
        Ok(String::from_utf8_lossy(&line[..length]).trim_end().to_string())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "its pickle takes from an empty stack".to_string())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "its pickle takes from an empty stack".to_string())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("its pickle lacks a mark")?))
    }

    fn memo(&mut self, opcode: u8) -> Result<(), String> {
        let slot = match opcode {
            b'h' | b'q' => self.length(1)?,
            b'j' | b'r' => self.length(4)?,
            _ => self.memo.len(),
        };
        if matches!(opcode, b'h' | b'j') {
            let id = self.memo.get(&slot).ok_or("its pickle refers to a value it does not hold")?;
            self.stack.push(*id);
        } else {
            let top = self.top()?;
            self.memo.insert(slot, top);
        }
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<(), String> {
        let count = match opcode {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            0x8a => self.length(1)?,
            _ => self.length(4)?,
        };
        if count > 8 {
            self.skip(count)?;
            self.push(Value::Opaque);
            return Ok(());
        }
        let signed = !matches!(opcode, b'K' | b'M');
        let number = self.number(count)?;
        let unused = 64 - 8 * count as u32;
        let extended = number.checked_shl(unused).map_or(0, |high| (high as i64) >> unused);
        self.push(Value::Int(if signed { extended } else { number as i64 }));
        Ok(())
    }

    fn string(&mut self, opcode: u8) -> Result<(), String> {
        let length = match opcode {
            0x8c | b'U' | b'C' => self.length(1)?,
            b'X' | b'T' | b'B' => self.length(4)?,
            _ => self.length(8)?,
        };
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        let bytes = matches!(opcode, b'C' | b'B' | 0x8e | 0x96);
        self.push(if bytes { Value::Opaque } else { Value::Text(text) });
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), String> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let name = self.pop()?;
            let module = self.pop()?;
            match (self.values.get(module), self.values.get(name)) {
                (Some(Value::Text(module)), Some(Value::Text(name))) => {
                    (module.clone(), name.clone())
                }
                _ => return Err("its pickle names a class by something that is no text".into()),
            }
        };
        self.push(Value::Global(module, name));
        Ok(())
    }

    fn sequence(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count);
                self.stack.split_off(start.ok_or("its pickle takes from an empty stack")?)
            }
            b't' | b'l' | 0x91 => self.pop_to_mark()?,
            _ => Vec::new(),
        };
        self.push(Value::Sequence(items));
        Ok(())
    }

    /// Adds to a list or set; to anything else (a deque, say) the items are dropped.
    fn extend(&mut self, opcode: u8) -> Result<(), String> {
        let added = if opcode == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        let top = self.top()?;
        if let Some(Value::Sequence(items)) = self.values.get_mut(top) {
            items.extend(added);
        }
        Ok(())
    }

    /// Makes a dict or adds to one. An object that is given items is a subclass of dict.
    fn dict(&mut self, opcode: u8) -> Result<(), String> {
        if opcode == b'}' {
            self.push(Value::Dict(Vec::new()));
            return Ok(());
        }
        let added = if opcode == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.pop_to_mark()?
        };
        if added.len() % 2 != 0 {
            return Err("its pickle holds a key without a value".into());
        }
        if opcode == b'd' {
            self.push(Value::Dict(Vec::new()));
        }
        let top = self.top()?;
        let pairs = added.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match self.values.get_mut(top) {
            Some(Value::Dict(entries)) => entries.extend(pairs),
            Some(value) => *value = Value::Dict(pairs.collect()),
            None => {}
        }
        Ok(())
    }

    fn call(&mut self, opcode: u8) -> Result<(), String> {
        if opcode == 0x92 {
            self.pop()?; // keyword arguments
        }
        let arguments = self.pop()?;
        let function = self.pop()?;
        let dict = matches!(self.values.get(function), Some(Value::Global(module, name))
            if module == "collections" && matches!(name.as_str(), "OrderedDict" | "defaultdict"));
        self.push(if dict { Value::Dict(Vec::new()) } else { Value::Call(function, arguments) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(pickle: &Pickle, id: Id) -> i64 {
        match pickle.get(id) {
            Value::Int(number) => *number,
            other => panic!("not an integer: {other:?}"),
        }
    }

    #[test]
    fn a_dict_of_a_tuple() {
        // pickle.dumps({"a": (1, -2, 300)}, protocol=2), memo stores left out
        let pickle =
            Pickle::parse(b"\x80\x02}X\x01\x00\x00\x00aK\x01J\xfe\xff\xff\xffM\x2c\x01\x87s.")
                .unwrap();
        let entries = pickle.entries(pickle.root()).unwrap();
        assert_eq!(pickle.text(entries[0].0), Some("a"));
        let numbers: Vec<i64> =
            pickle.items(entries[0].1).iter().map(|&id| int(&pickle, id)).collect();
        assert_eq!(numbers, [1, -2, 300]);
    }

    #[test]
    fn long_integers_keep_their_sign() {
        // LONG1 of 0, 1, 2 and 9 bytes: 0, -1, 32767, and one that needs more than 64 bits
        let pickle = Pickle::parse(
            b"(\x8a\x00\x8a\x01\xff\x8a\x02\xff\x7f\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01t.",
        )
        .unwrap();
        let items = pickle.items(pickle.root());
        assert_eq!(int(&pickle, items[0]), 0);
        assert_eq!(int(&pickle, items[1]), -1);
        assert_eq!(int(&pickle, items[2]), 32767);
        assert_eq!(*pickle.get(items[3]), Value::Opaque);
    }

    #[test]
    fn a_dict_stored_before_it_is_filled_is_filled_everywhere() {
        // {1: d, 2: d} where d was put in the memo while still empty, as Python does
        let pickle = Pickle::parse(b"}K\x01}q\x00K\x07K\x08ssK\x02h\x00s.").unwrap();
        let entries = pickle.entries(pickle.root()).unwrap();
        assert_eq!(entries[0].1, entries[1].1);
        assert_eq!(pickle.entries(entries[1].1).unwrap().len(), 1);
    }

    #[test]
    fn ordered_dicts_and_subclasses_of_dict_are_dicts() {
        let ordered = Pickle::parse(b"ccollections\nOrderedDict\n)RK\x01K\x02s.").unwrap();
        assert_eq!(ordered.entries(ordered.root()).unwrap().len(), 1);
        let subclass = Pickle::parse(b"ceasydict\nEasyDict\n)\x81(K\x01K\x02u.").unwrap();
        assert_eq!(subclass.entries(subclass.root()).unwrap().len(), 1);
    }

    #[test]
    fn protocol_four_is_read_too() {
        // pickle.dumps({"a": [collections.Counter]}, protocol=4) as Python 3.11 writes it
        let bytes = b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94\
            \x8c\x0bcollections\x94\x8c\x07Counter\x94\x93\x94as.";
        let pickle = Pickle::parse(bytes).unwrap();
        let list = pickle.entries(pickle.root()).unwrap()[0].1;
        assert_eq!(pickle.global(pickle.items(list)[0]), Some(("collections", "Counter")));
    }

    #[test]
    fn deep_nesting_neither_recurses_nor_copies() {
        // a million tuples of one: candle's reader overflows the stack here
        let mut bytes = b")".to_vec();
        bytes.extend([0x85].repeat(1_000_000));
        bytes.push(b'.');
        let pickle = Pickle::parse(&bytes).unwrap();
        assert_eq!(pickle.items(pickle.root()).len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = Pickle::parse(&bytes);
        }

        #[test]
        fn likely_opcodes_never_panic(
            bytes in proptest::collection::vec(proptest::sample::select(
                b"().0127hjqrJKMXGNabcdelstuQR]}\x80\x81\x85\x86\x87\x8a\x8c\x8f\x90\x93\x94\x00\x01\n".to_vec(),
            ), 0..60),
        ) {
            let _ = Pickle::parse(&bytes);
        }
    }
}
