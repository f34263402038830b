//! Every operation against candle's plain ones, and those against finite differences in f64.

use candle_core::{DType, Device, Tensor, Var};

use super::*;

/// A tensor of numbers around zero, the same in both number types.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> =
        (0..count).map(|i| (((i + 31 * seed) * 7919 % 1009) as f32 / 70.0).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

type Operation<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// The output, and the gradients of Σ output · fixed numbers.
fn run(inputs: &[Tensor], dtype: DType, operation: Operation<'_>) -> (Tensor, Vec<Tensor>) {
    let variables: Vec<Var> = inputs
        .iter()
        .map(|input| Var::from_tensor(&input.to_dtype(dtype).unwrap()).unwrap())
        .collect();
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let out = operation(&tensors).unwrap();
    let gradients = objective(&out).backward().unwrap();
    let of = |variable: &Var| gradients.get(variable.as_tensor()).unwrap().clone();
    (out.detach(), variables.iter().map(of).collect())
}

fn objective(out: &Tensor) -> Tensor {
    let factors = numbers(out.dims(), 99).to_dtype(out.dtype()).unwrap();
    (out * factors).unwrap().sum_all().unwrap()
}

fn flat(xs: &Tensor) -> Vec<f64> {
    xs.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, ours: &Tensor, wanted: &Tensor, tolerance: f64) {
    assert_eq!(ours.dims(), wanted.dims(), "{what}");
    let scale = flat(wanted).iter().fold(1e-3_f64, |largest, value| largest.max(value.abs()));
    for (place, (ours, wanted)) in flat(ours).iter().zip(flat(wanted)).enumerate() {
        assert!((ours - wanted).abs() <= tolerance * scale, "{what}[{place}]: {ours} for {wanted}");
    }
}

/// Our operation in f32 equals candle's plain one in f64, and that one's gradients are right.
fn check(inputs: &[Tensor], operation: Operation<'_>) {
    let (ours, our_gradients) = run(inputs, DType::F32, operation);
    let (plain, gradients) = run(inputs, DType::F64, operation);
    // sums of at most a few hundred f32 products, relative to the largest value
    assert_close("output", &ours, &plain, 2e-6);
    for (index, (ours, plain)) in our_gradients.iter().zip(&gradients).enumerate() {
        assert_close(&format!("gradient {index}"), ours, plain, 5e-6);
    }
    let doubles: Vec<Tensor> =
        inputs.iter().map(|input| input.to_dtype(DType::F64).unwrap()).collect();
    for (index, gradient) in gradients.iter().enumerate() {
        for (place, gradient) in flat(gradient).into_iter().enumerate().step_by(7) {
            let moved = |by: f64| {
                let mut values = flat(&doubles[index]);
                values[place] += by;
                let mut tensors = doubles.clone();
                tensors[index] =
                    Tensor::from_vec(values, doubles[index].dims(), &Device::Cpu).unwrap();
                objective(&operation(&tensors).unwrap()).to_scalar::<f64>().unwrap()
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            // the third derivative times 1e-10, and cancellation of 1e-16 / 1e-5
            let off = (difference - gradient).abs();
            assert!(
                off < 1e-6 * (1.0 + gradient.abs()),
                "{index}[{place}]: {gradient} {difference}"
            );
        }
    }
}

#[test]
fn linear_layers() {
    let inputs = [numbers(&[2, 5, 12], 1), numbers(&[7, 12], 2), numbers(&[7], 3)];
    check(&inputs, &|t| linear(&t[0], &t[1], &t[2]));
}

#[test]
fn a_linear_layer_of_pixels_leaves_their_gradient_out() {
    let weight = Var::from_tensor(&numbers(&[7, 12], 2)).unwrap();
    let bias = Var::from_tensor(&numbers(&[7], 3)).unwrap();
    let pixels = numbers(&[5, 12], 1);
    let out = linear(&pixels, weight.as_tensor(), bias.as_tensor()).unwrap();
    let gradients = out.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&pixels).is_none());
    assert!(gradients.get(weight.as_tensor()).is_some());
}

#[test]
fn norms() {
    // more rows than a thread takes at a time, a width that is no multiple of the lanes
    let inputs = [numbers(&[3, 45, 20], 1), numbers(&[20], 2), numbers(&[20], 3)];
    check(&inputs, &|t| norm(&t[0], &t[1], &t[2], 1e-6));
}

#[test]
fn gelus() {
    check(&[(numbers(&[3, 50], 1) * 4.0).unwrap()], &|t| gelu(&t[0]));
}

#[test]
fn attention_among_tokens() {
    check(&[numbers(&[2, 9, 3 * 12], 1)], &|t| attend(&t[0], 3, Dropout::NONE));
}

#[test]
fn attention_across() {
    let inputs = [numbers(&[2, 9, 12], 1), numbers(&[2, 5, 24], 2)];
    check(&inputs, &|t| attend_across(&t[0], &t[1], 2, Dropout::NONE));
}

#[test]
fn errors_of_masked_patches() {
    let removed = Tensor::new(&[[1_f32, 0.0, 1.0], [1.0, 1.0, 0.0]], &Device::Cpu).unwrap();
    let target = numbers(&[2, 3, 20], 2);
    check(&[numbers(&[2, 3, 20], 1)], &|t| {
        masked_error(&t[0], &target.to_dtype(t[0].dtype())?, &removed)
    });
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let how = Dropout { probability: 0.1, seed: 0x1234_5678_9abc_def0 };
    let ones = Tensor::ones((100, 1000), DType::F32, &Device::Cpu).unwrap();
    let out = flat(&dropout(&ones, how).unwrap());
    let zeros = out.iter().filter(|value| **value == 0.0).count() as f64 / 1e5;
    assert!((zeros - 0.1).abs() < 0.005, "{zeros}"); // five standard deviations
    assert!(out.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.9).abs() < 1e-6));
    let other = flat(&dropout(&ones, Dropout { seed: 5, ..how }).unwrap());
    let both = out.iter().zip(&other).filter(|(a, b)| **a == 0.0 && **b == 0.0).count();
    assert!((both as f64 / 1e5 - 0.01).abs() < 0.002, "two seeds are not independent: {both}");
}

#[test]
fn the_backward_pass_drops_what_the_forward_pass_dropped() {
    let how = Dropout { probability: 0.3, seed: 77 };
    let ones = Tensor::ones((40, 50), DType::F32, &Device::Cpu).unwrap();
    let xs = Var::from_tensor(&ones).unwrap();
    let out = dropout(xs.as_tensor(), how).unwrap();
    let gradients = out.sum_all().unwrap().backward().unwrap();
    let gradient = flat(gradients.get(xs.as_tensor()).unwrap());
    for (out, gradient) in flat(&out).iter().zip(gradient) {
        assert_eq!(*out == 0.0, gradient == 0.0);
    }
}

/// With dropout the plain version cannot be asked; finite differences of our own one, whose f32
/// leaves some 1e-3 of them, can.
#[test]
fn dropped_probabilities_are_dropped_in_both_directions() {
    let drop = Dropout { probability: 0.4, seed: 3 };
    let qkv = numbers(&[1, 6, 24], 1);
    let operation = |t: &[Tensor]| attend(&t[0], 2, drop);
    let (_, gradients) = run(std::slice::from_ref(&qkv), DType::F32, &operation);
    let moved = |place: usize, by: f32| {
        let mut values: Vec<f32> = qkv.flatten_all().unwrap().to_vec1().unwrap();
        values[place] += by;
        let qkv = Tensor::from_vec(values, qkv.dims(), &Device::Cpu).unwrap();
        flat(&objective(&operation(&[qkv]).unwrap()))[0]
    };
    for (place, gradient) in flat(&gradients[0]).into_iter().enumerate() {
        let difference = (moved(place, 5e-3) - moved(place, -5e-3)) / 1e-2;
        assert!((difference - gradient).abs() < 4e-3, "{place}: {gradient} {difference}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let inputs = [numbers(&[4, 70, 36], 1), numbers(&[36], 2), numbers(&[36], 3)];
    let all = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (a, b) = run(&inputs, DType::F32, &|t| norm(&t[0], &t[1], &t[2], 1e-6));
            let (c, d) = run(&inputs[..1], DType::F32, &|t| attend(&t[0], 3, Dropout::NONE));
            let weights = [inputs[0].clone(), numbers(&[300, 36], 4), numbers(&[300], 5)];
            let (e, f) = run(&weights, DType::F32, &|t| linear(&t[0], &t[1], &t[2]));
            [vec![a], b, vec![c], d, vec![e], f].concat().iter().flat_map(flat).collect::<Vec<_>>()
        })
    };
    assert_eq!(all(1), all(3));
}
