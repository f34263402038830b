//! Every operation where we have no kernel: candle's operations with candle's gradients.

use candle_core::{Result, Tensor, Var};

use crate::autoencoder::tape::{Tape, Value};

/// An operation of candle's differentiable ones: its gradients come from candle's backward pass
/// over this operation alone, computed anew then so that nothing is kept meanwhile.
pub(super) fn plain<const N: usize>(
    tape: &Tape,
    inputs: [&Value; N],
    operation: impl Fn([&Tensor; N]) -> Result<Tensor> + 'static,
) -> Result<Value> {
    let out = operation(inputs.map(|input| &input.tensor))?.detach();
    let tensors = inputs.map(|input| input.tensor.clone());
    Ok(tape.push(out, &inputs, move |gradient| {
        let mut variables = Vec::with_capacity(N);
        for tensor in &tensors {
            variables.push(Var::from_tensor(tensor)?);
        }
        let again = std::array::from_fn(|index| variables[index].as_tensor());
        let store = (operation(again)? * gradient)?.sum_all()?.backward()?;
        Ok(variables.iter().map(|variable| store.get(variable.as_tensor()).cloned()).collect())
    }))
}
