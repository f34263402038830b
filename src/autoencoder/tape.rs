//! What happened in a forward pass, to be walked back.
//!
//! Every operation leaves a note of its inputs and of how their gradients follow from that of its
//! output. Walking back uses up the notes, so that what a pass kept is freed as soon as it is not
//! needed; a first gradient is taken over as it is and only further ones are added to it. candle's
//! own backward pass keeps everything to its end and adds every gradient to zeros, which on a CPU
//! costs as much as the operations themselves. A tape that is off takes no notes.

use std::cell::RefCell;

use candle_core::{Result, Tensor};

use super::host::add_tensors;

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

/// Turns the gradients of outputs, of which one at least there is, into those of the inputs, in their
/// order.
type Backward = Box<dyn FnOnce(Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>>>;

/// An operation; it stands where its first output does, and behind it an empty note for each further
/// one.
struct Note {
    inputs: Vec<Option<usize>>,
    outputs: usize,
    backward: Option<Backward>,
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
        let place = self.note(Note { inputs: Vec::new(), outputs: 1, backward: None });
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
        let mut first = Some(Note { inputs, outputs: OUTPUTS, backward: Some(Box::new(backward)) });
        tensors.map(|tensor| {
            let further = || Note { inputs: Vec::new(), outputs: 1, backward: None };
            let place = self.note(first.take().unwrap_or_else(further));
            Value { tensor, place }
        })
    }

    /// Where the note stands; `None` on a tape that is off.
    fn note(&self, note: Note) -> Option<usize> {
        let mut notes = self.notes.as_ref()?.borrow_mut();
        notes.push(note);
        Some(notes.len() - 1)
    }

    /// Walks back from `output`, whose own gradient is `gradient`; returns those of `leaves`, where
    /// they have any.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub(super) fn walk_back(
        self,
        output: &Value,
        gradient: Tensor,
        leaves: &[Value],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut notes = self.notes.map(RefCell::into_inner).unwrap_or_default();
        let mut gradients: Vec<Option<Tensor>> = notes.iter().map(|_| None).collect();
        if let Some(slot) = output.place.and_then(|place| gradients.get_mut(place)) {
            *slot = Some(gradient);
        }
        while let Some(note) = notes.pop() {
            let place = notes.len();
            let Some(backward) = note.backward else { continue };
            let outputs = gradients.iter_mut().skip(place).take(note.outputs);
            let of_outputs: Vec<_> = outputs.map(Option::take).collect();
            if of_outputs.iter().all(Option::is_none) {
                continue;
            }
            for (input, part) in note.inputs.into_iter().zip(backward(of_outputs)?) {
                let slot = input.and_then(|input| gradients.get_mut(input));
                let (Some(slot), Some(part)) = (slot, part) else { continue };
                *slot = Some(match slot.take() {
                    Some(sum) => add_tensors(&sum, &part)?,
                    None => part,
                });
            }
        }
        let of = |leaf: &Value| gradients.get_mut(leaf.place?)?.take();
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

    #[test]
    fn gradients_of_a_value_used_twice_are_added() {
        // (a · b) · a = a² b: 2ab by a, a² by b
        let tape = Tape::on();
        let (a, b) = (tape.leaf(scalar(3.0)), tape.leaf(scalar(5.0)));
        let unused = tape.leaf(scalar(1.0));
        let out = times(&tape, &times(&tape, &a, &b), &a);
        let gradients = tape.walk_back(&out, scalar(1.0), &[a, b, unused]).unwrap();
        let value =
            |gradient: &Option<Tensor>| gradient.as_ref().map(|g| g.to_scalar::<f32>().unwrap());
        assert_eq!(gradients.iter().map(value).collect::<Vec<_>>(), [Some(30.0), Some(9.0), None]);
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
        // their product; three times the sum; the one times the other: (a + b) a b
        for (case, wanted) in [(0, [5.0, 3.0]), (1, [3.0, 3.0]), (2, [55.0, 39.0])] {
            let tape = Tape::on();
            let (a, b) = (tape.leaf(scalar(3.0)), tape.leaf(scalar(5.0)));
            let [sum, product] = both(&tape, &a, &b);
            let out = match case {
                0 => times(&tape, &product, &Value::constant(scalar(1.0))),
                1 => times(&tape, &sum, &Value::constant(scalar(3.0))),
                _ => times(&tape, &sum, &product),
            };
            let gradients = tape.walk_back(&out, scalar(1.0), &[a, b]).unwrap();
            let found = gradients.iter().map(|g| g.as_ref().unwrap().to_scalar::<f32>().unwrap());
            assert_eq!(found.collect::<Vec<_>>(), wanted, "{case}");
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
