//! Records a forward pass, so that the backward pass can follow it in reverse.
//!
//! Every operation records its inputs and how their gradients follow from the gradient of its
//! output. The backward pass consumes these records, so memory is freed as soon as it is not
//! needed; the first gradient of a value is moved, and only further ones are added to it. The
//! parameters keep the gradients of all their uses as a list, which is added up when they are
//! gathered. candle's own backward pass keeps everything to its end and adds every gradient to
//! zeros, which on a CPU costs as much as the operations themselves. A tape that is off records
//! nothing.

use std::cell::RefCell;

use candle_core::{Result, Tensor};

use crate::host::add_tensors;

/// A tensor on a tape, or one that has no gradient.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// The tensor.
    pub(super) tensor: Tensor,
    place: Option<usize>,
}

impl Value {
    /// A tensor that nothing is trained behind.
    pub(super) fn constant(tensor: Tensor) -> Self {
        Self { tensor, place: None }
    }

    /// Whether its gradient is wanted.
    pub(super) fn tracked(&self) -> bool {
        self.place.is_some()
    }
}

/// Turns the gradients of outputs, of which one at least there is, into those of the inputs, in
/// their order.
type Backward = Box<dyn FnOnce(Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>>>;

/// What stands at a place.
enum Note {
    /// A tensor whose gradient is asked for in the end.
    Leaf,
    /// An operation and the first of its outputs.
    Operation { inputs: Vec<Option<usize>>, outputs: usize, backward: Backward },
    /// A further output of the operation before it.
    Output,
}

/// The notes of a forward pass.
pub(super) struct Tape {
    notes: Option<RefCell<Vec<Note>>>,
}

impl Tape {
    /// A tape that takes notes.
    pub(super) fn on() -> Self {
        Self { notes: Some(RefCell::default()) }
    }

    /// A tape that does not, for passes whose gradient nobody asks for.
    pub(super) fn off() -> Self {
        Self { notes: None }
    }

    /// A tensor whose gradient is wanted.
    pub(super) fn leaf(&self, tensor: Tensor) -> Value {
        let place = self.note(Note::Leaf);
        Value { tensor, place }
    }

    /// The output of an operation on `inputs`.
    pub(super) fn push(
        &self,
        tensor: Tensor,
        inputs: &[&Value],
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Value {
        let backward = |gradients: Vec<Option<Tensor>>| match gradients.into_iter().flatten().next()
        {
            Some(gradient) => backward(&gradient),
            None => Ok(Vec::new()),
        };
        let [value] = self.push_all([tensor], inputs, backward);
        value
    }

    /// The two outputs of an operation on `inputs`, the gradient of either of which may be missing.
    #[cfg(any(feature = "cuda", test))] // on a CPU such operations are put together from others
    pub(super) fn push_two(
        &self,
        tensors: [Tensor; 2],
        inputs: &[&Value],
        backward: impl FnOnce(Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> [Value; 2] {
        self.push_all(tensors, inputs, backward)
    }

    fn push_all<const OUTPUTS: usize>(
        &self,
        tensors: [Tensor; OUTPUTS],
        inputs: &[&Value],
        backward: impl FnOnce(Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> [Value; OUTPUTS] {
        let inputs: Vec<Option<usize>> = inputs.iter().map(|input| input.place).collect();
        if inputs.iter().all(Option::is_none) {
            return tensors.map(Value::constant);
        }
        let backward = Box::new(backward);
        let mut first = Some(Note::Operation { inputs, outputs: OUTPUTS, backward });
        tensors.map(|tensor| {
            let place = self.note(first.take().unwrap_or(Note::Output));
            Value { tensor, place }
        })
    }

    /// Where the note stands; `None` on a tape that is off.
    fn note(&self, note: Note) -> Option<usize> {
        let mut notes = self.notes.as_ref()?.borrow_mut();
        notes.push(note);
        Some(notes.len() - 1)
    }

    /// Walks back from `output`, whose own gradient is `gradient`; returns those of `leaves`: for
    /// each the parts that it is the sum of, one a use that has a gradient.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub(super) fn walk_back(
        self,
        output: &Value,
        gradient: Tensor,
        leaves: &[Value],
    ) -> Result<Vec<Vec<Tensor>>> {
        let mut notes = self.notes.map(RefCell::into_inner).unwrap_or_default();
        let mut gradients: Vec<Vec<Tensor>> = notes.iter().map(|_| Vec::new()).collect();
        if let Some(parts) = output.place.and_then(|place| gradients.get_mut(place)) {
            parts.push(gradient);
        }
        while let Some(note) = notes.pop() {
            let place = notes.len();
            let Note::Operation { inputs, outputs, backward } = note else { continue };
            let outputs = gradients.iter_mut().skip(place).take(outputs);
            let of_outputs: Vec<Option<Tensor>> = outputs.map(Vec::pop).collect();
            if of_outputs.iter().all(Option::is_none) {
                continue;
            }
            for (input, part) in inputs.into_iter().zip(backward(of_outputs)?) {
                let (Some(input), Some(part)) = (input, part) else { continue };
                let is_leaf = matches!(notes.get(input), Some(Note::Leaf));
                let Some(parts) = gradients.get_mut(input) else { continue };
                let sum = if is_leaf { None } else { parts.pop() };
                parts.push(match sum {
                    Some(sum) => add_tensors(&sum, &part)?,
                    None => part,
                });
            }
        }
        let of = |leaf: &Value| {
            let parts = leaf.place.and_then(|place| gradients.get_mut(place));
            parts.map(std::mem::take).unwrap_or_default()
        };
        Ok(leaves.iter().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn scalar(value: f32) -> Tensor {
        Tensor::new(value, &Device::Cpu).unwrap()
    }

    /// a · b with its gradients.
    fn times(tape: &Tape, a: &Value, b: &Value) -> Value {
        let (left, right) = (a.tensor.clone(), b.tensor.clone());
        let product = (&left * &right).unwrap();
        tape.push(product, &[a, b], move |g| Ok(vec![Some((g * &right)?), Some((g * &left)?)]))
    }

    /// What is found for each leaf.
    fn numbers(found: &[Vec<Tensor>]) -> Vec<Vec<f32>> {
        let of = |parts: &Vec<Tensor>| parts.iter().map(|part| part.to_scalar().unwrap()).collect();
        found.iter().map(of).collect()
    }

    #[test]
    fn leaves_keep_the_gradients_of_all_their_uses() {
        // (a · b) · a = a² b: ab twice by a, a² by b
        let tape = Tape::on();
        let (a, b) = (tape.leaf(scalar(3.0)), tape.leaf(scalar(5.0)));
        let unused = tape.leaf(scalar(1.0));
        let out = times(&tape, &times(&tape, &a, &b), &a);
        let found = tape.walk_back(&out, scalar(1.0), &[a, b, unused]).unwrap();
        assert_eq!(numbers(&found), [vec![15.0, 15.0], vec![9.0], vec![]]);
    }

    #[test]
    fn gradients_of_a_value_used_twice_are_added() {
        // c = a · b, c · c: 2c·b by a in one part, since c's gradient is a sum by then
        let tape = Tape::on();
        let (a, b) = (tape.leaf(scalar(3.0)), tape.leaf(scalar(5.0)));
        let c = times(&tape, &a, &b);
        let out = times(&tape, &c, &c);
        let found = tape.walk_back(&out, scalar(1.0), &[a, b]).unwrap();
        assert_eq!(numbers(&found), [[150.0], [90.0]]);
    }

    #[test]
    fn an_operation_may_have_two_outputs() {
        // of 3 and 5: their sum, 8, and their product, 15
        let both = |tape: &Tape, a: &Value, b: &Value| {
            let (left, right) = (a.tensor.clone(), b.tensor.clone());
            let outputs = [(&left + &right).unwrap(), (&left * &right).unwrap()];
            tape.push_two(outputs, &[a, b], move |gradients| {
                let or_zero = |g: &Option<Tensor>| g.clone().unwrap_or_else(|| scalar(0.0));
                let (sum, product) = (or_zero(&gradients[0]), or_zero(&gradients[1]));
                let of = |other: &Tensor| (&sum + (&product * other)?)?.contiguous();
                Ok(vec![Some(of(&right)?), Some(of(&left)?)])
            })
        };
        // the product; three times the sum; the one times the other, (a + b) a b; the product's
        // square
        for (case, wanted) in
            [(0, [5.0, 3.0]), (1, [3.0, 3.0]), (2, [55.0, 39.0]), (3, [150.0, 90.0])]
        {
            let tape = Tape::on();
            let (a, b) = (tape.leaf(scalar(3.0)), tape.leaf(scalar(5.0)));
            let [sum, product] = both(&tape, &a, &b);
            let out = match case {
                0 => times(&tape, &product, &Value::constant(scalar(1.0))),
                1 => times(&tape, &sum, &Value::constant(scalar(3.0))),
                2 => times(&tape, &sum, &product),
                _ => times(&tape, &product, &product),
            };
            let found = tape.walk_back(&out, scalar(1.0), &[a, b]).unwrap();
            assert_eq!(numbers(&found), wanted.map(|gradient| vec![gradient]), "{case}");
        }
    }

    #[test]
    fn constants_and_tapes_that_are_off_leave_no_notes() {
        let tape = Tape::on();
        let constant = Value::constant(scalar(2.0));
        assert!(!times(&tape, &constant, &constant).tracked());
        let tape = Tape::off();
        let leaf = tape.leaf(scalar(2.0));
        assert!(!times(&tape, &leaf, &leaf).tracked());
    }
}
