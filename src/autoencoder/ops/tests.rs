//! Compares every operation with candle's plain ones, and those with finite differences in f64.

use candle_core::{DType, Device, Result, Tensor};

use super::*;
use crate::autoencoder::tape::{Tape, Value};
use crate::device::tests::gpu;

/// A tensor of numbers around zero, the same in both number types.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> =
        (0..count).map(|i| (((i + 31 * seed) * 7919 % 1009) as f32 / 70.0).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

type Operation<'a> = &'a dyn Fn(&Tape, &[Value]) -> Result<Value>;

/// The output, and the gradients of Σ output · fixed numbers.
fn run(inputs: &[Tensor], dtype: DType, operation: Operation<'_>) -> (Tensor, Vec<Tensor>) {
    run_on(&Device::Cpu, inputs, dtype, operation)
}

fn run_on(
    device: &Device,
    inputs: &[Tensor],
    dtype: DType,
    operation: Operation<'_>,
) -> (Tensor, Vec<Tensor>) {
    let tape = Tape::on();
    let on = |input: &Tensor| input.to_dtype(dtype).unwrap().to_device(device).unwrap();
    let leaves: Vec<Value> = inputs.iter().map(|input| tape.leaf(on(input))).collect();
    let out = operation(&tape, &leaves).unwrap();
    let gradient = factors(&out.tensor);
    let gradients = tape.walk_back(&out, gradient, &leaves).unwrap();
    let sum = |parts: Vec<Tensor>| parts.into_iter().reduce(|a, b| (a + b).unwrap()).unwrap();
    (out.tensor, gradients.into_iter().map(sum).collect())
}

/// The output alone.
fn forward(inputs: &[Tensor], operation: Operation<'_>) -> Tensor {
    let values: Vec<Value> = inputs.iter().cloned().map(Value::constant).collect();
    operation(&Tape::off(), &values).unwrap().tensor
}

fn factors(out: &Tensor) -> Tensor {
    numbers(out.dims(), 99).to_dtype(out.dtype()).unwrap().to_device(out.device()).unwrap()
}

/// On a GPU the operation gives what the plain one does in f64: in f32 up to the order of sums of
/// some hundred products, in bf16 up to the 8 bits of inputs, outputs and what lies between.
fn check_on_gpu(inputs: &[Tensor], operation: Operation<'_>, plain: &Tensor, gradients: &[Tensor]) {
    let Some(device) = gpu() else { return };
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 4e-2)] {
        let (theirs, their_gradients) = run_on(&device, inputs, dtype, operation);
        assert_close(&format!("{dtype:?} output"), &theirs, plain, tolerance);
        for (index, (theirs, plain)) in their_gradients.iter().zip(gradients).enumerate() {
            assert_close(&format!("{dtype:?} gradient {index}"), theirs, plain, tolerance);
        }
    }
}

/// A tensor in the number type and on the device of a value.
fn like(xs: &Tensor, value: &Value) -> Tensor {
    xs.to_dtype(value.tensor.dtype()).unwrap().to_device(value.tensor.device()).unwrap()
}

fn objective(out: &Tensor) -> Tensor {
    (out * factors(out)).unwrap().sum_all().unwrap()
}

fn flat(xs: &Tensor) -> Vec<f64> {
    xs.to_device(&Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
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
    check_on_gpu(inputs, operation, &plain, &gradients);
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
                objective(&forward(&tensors, operation)).to_scalar::<f64>().unwrap()
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
    check(&inputs, &|tape, t| linear(tape, &t[0], &t[1], &t[2]));
}

#[test]
fn a_weight_may_be_a_kernel() {
    let inputs = [numbers(&[2, 5, 12], 1), numbers(&[7, 3, 2, 2], 2), numbers(&[7], 3)];
    check(&inputs, &|tape, t| linear(tape, &t[0], &t[1], &t[2]));
}

#[test]
fn a_linear_layer_of_pixels_leaves_their_gradient_out() {
    let tape = Tape::on();
    let (weight, bias) = (tape.leaf(numbers(&[7, 12], 2)), tape.leaf(numbers(&[7], 3)));
    let pixels = Value::constant(numbers(&[5, 12], 1));
    let out = linear(&tape, &pixels, &weight, &bias).unwrap();
    let gradient = factors(&out.tensor);
    let gradients = tape.walk_back(&out, gradient, &[pixels, weight, bias]).unwrap();
    assert_eq!(gradients.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn tokens_are_put_together_and_taken_apart() {
    let rows = |rows: &[u32]| Tensor::new(rows, &Device::Cpu).unwrap();
    let plan = RowPlan {
        sources: rows(&[3, 0, 4, 4, 2, 4, 1]),
        of_stored: rows(&[1, 6, 4, 0]),
        of_last: rows(&[2, 3, 5]),
    };
    check(&[numbers(&[4, 5], 1), numbers(&[1, 5], 2)], &|tape, t| {
        let on = |rows: &Tensor| rows.to_device(t[0].tensor.device());
        let plan = RowPlan {
            sources: on(&plan.sources)?,
            of_stored: on(&plan.of_stored)?,
            of_last: on(&plan.of_last)?,
        };
        select_rows(tape, (&t[0], &t[1]), &plan)
    });
    check(&[numbers(&[1, 1, 8], 1), numbers(&[3, 4, 8], 2)], &|tape, t| {
        let all = prepend(tape, &t[0], &t[1])?;
        let twice = add(tape, &all, &all)?;
        reshape(tape, &narrow(tape, &twice, 1, (1, 3))?, &[9, 8])
    });
    let table = numbers(&[1, 4, 8], 3);
    check(&[numbers(&[3, 4, 8], 2)], &|tape, t| add_constant(tape, &t[0], &like(&table, &t[0])));
}

#[test]
fn norms() {
    // more rows than a thread takes at a time, a width that is no multiple of the lanes
    let inputs = [numbers(&[3, 45, 20], 1), numbers(&[20], 2), numbers(&[20], 3)];
    check(&inputs, &|tape, t| norm(tape, &t[0], (&t[1], &t[2]), 1e-6));
}

/// A branch joins the stream: sum and norm are both used, as within an encoder, or one of them
/// alone.
#[test]
fn branches_join_the_stream() {
    // widths with a kernel on a GPU, narrow and wide, and one without
    for width in [16, 264, 20] {
        let inputs = [
            numbers(&[2, 9, width], 1),
            numbers(&[2, 9, 12], 2),
            numbers(&[width, 12], 3),
            numbers(&[width], 4),
            numbers(&[width], 5),
            numbers(&[width], 6),
        ];
        let both = |tape: &Tape, t: &[Value]| {
            let layer = Layer { inputs: &t[1], weight: &t[2], bias: &t[3], drop: Dropout::NONE };
            add_norm(tape, &t[0], layer, Norm { weight: &t[4], bias: &t[5], epsilon: 1e-6 })
        };
        check(&inputs, &|tape, t| both(tape, t).map(|[_, normed]| normed));
        if width == 16 {
            check(&inputs, &|tape, t| {
                both(tape, t).and_then(|[sum, normed]| add(tape, &sum, &normed))
            });
            check(&inputs[..4], &|tape, t| {
                let constant = Value::constant(like(&numbers(&[width], 7), &t[0]));
                let all = [t, &[constant.clone(), constant]].concat();
                both(tape, &all).map(|[sum, _]| sum)
            });
        }
    }
}

#[test]
fn first_layers_of_feed_forwards() {
    for outputs in [24, 7] {
        let inputs = [numbers(&[2, 5, 12], 1), numbers(&[outputs, 12], 2), numbers(&[outputs], 3)];
        check(&inputs, &|tape, t| {
            let (weight, bias) = (&t[1], &t[2]);
            linear_gelu(tape, Layer { inputs: &t[0], weight, bias, drop: Dropout::NONE })
        });
    }
}

#[test]
fn gelus() {
    check(&[(numbers(&[3, 50], 1) * 4.0).unwrap()], &|tape, t| gelu(tape, &t[0]));
}

#[test]
fn attention_among_tokens() {
    check(&[numbers(&[2, 9, 3 * 12], 1)], &|tape, t| attend(tape, &t[0], 3, Dropout::NONE));
}

#[test]
fn attention_across() {
    let inputs = [numbers(&[2, 9, 12], 1), numbers(&[2, 5, 24], 2)];
    check(&inputs, &|tape, t| attend_across(tape, (&t[0], &t[1]), 2, Dropout::NONE));
}

#[test]
fn attention_of_more_tokens_than_a_warp_takes_at_once() {
    // 37 and 70 tokens, padded to 40 and 72 on a GPU; heads of 8
    check(&[numbers(&[2, 37, 3 * 16], 1)], &|tape, t| attend(tape, &t[0], 2, Dropout::NONE));
    let inputs = [numbers(&[1, 5, 16], 1), numbers(&[1, 70, 32], 2)];
    check(&inputs, &|tape, t| attend_across(tape, (&t[0], &t[1]), 2, Dropout::NONE));
}

/// The places that are dropped are the CPU's, forwards and backwards, in probabilities too.
#[test]
fn a_gpu_drops_what_the_cpu_drops() {
    let Some(device) = gpu() else { return eprintln!("skipped: no GPU") };
    let drop = Dropout { probability: 0.3, seed: 0x1234_5678_9abc_def0 };
    let (tokens, others) = (numbers(&[2, 37, 48], 1), numbers(&[2, 9, 32], 2));
    let xs = || vec![tokens.clone()];
    compare_on_gpu(&device, &xs(), &|tape, t| dropout(tape, &t[0], drop));
    compare_on_gpu(&device, &xs(), &|tape, t| attend(tape, &t[0], 2, drop));
    compare_on_gpu(&device, &[tokens.clone(), others], &|tape, t| {
        attend_across(tape, (&narrow(tape, &t[0], 2, (0, 16))?, &t[1]), 2, drop)
    });
    let layer = [xs(), vec![numbers(&[48, 48], 3), numbers(&[48], 4)]].concat();
    compare_on_gpu(&device, &layer, &|tape, t| {
        linear_gelu(tape, Layer { inputs: &t[0], weight: &t[1], bias: &t[2], drop })
    });
    compare_on_gpu(&device, &layer, &|tape, t| {
        let layer = Layer { inputs: &t[0], weight: &t[1], bias: &t[2], drop };
        let by = Norm { weight: &t[2], bias: &t[2], epsilon: 1e-6 };
        let [sum, normed] = add_norm(tape, &t[0], layer, by)?;
        add(tape, &sum, &normed)
    });
}

/// On the GPU in both number types what the CPU gives in f32; bounds as in [`check_on_gpu`].
fn compare_on_gpu(device: &Device, inputs: &[Tensor], operation: Operation<'_>) {
    let (ours, our_gradients) = run(inputs, DType::F32, operation);
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 4e-2)] {
        let (theirs, gradients) = run_on(device, inputs, dtype, operation);
        assert_close(&format!("{dtype:?} output"), &theirs, &ours, tolerance);
        for (theirs, ours) in gradients.iter().zip(&our_gradients) {
            assert_close(&format!("{dtype:?} gradient"), theirs, ours, tolerance);
        }
    }
}

/// Heads and tokens of the networks that are trained: in bf16 the fused kernels of each width, with
/// blocks of several warps and several of them to a head; and the few tokens of a masked view.
#[test]
fn attention_on_a_gpu_at_the_sizes_of_networks() {
    let Some(device) = gpu() else { return eprintln!("skipped: no GPU") };
    let drop = Dropout { probability: 0.1, seed: 0x0fed_cba9_8765_4321 };
    let among = |how| move |tape: &Tape, t: &[Value]| attend(tape, &t[0], 2, how);
    for (tokens, width) in [(197, 64), (4, 64), (197, 32), (50, 32), (70, 80)] {
        let inputs = [numbers(&[2, tokens, 6 * width], 1)];
        compare_on_gpu(&device, &inputs, &among(Dropout::NONE));
        compare_on_gpu(&device, &inputs, &among(drop));
    }
    for (tokens, others) in [(197, 197), (50, 197), (197, 3)] {
        let inputs = [numbers(&[2, tokens, 64], 1), numbers(&[2, others, 128], 2)];
        let across = |tape: &Tape, t: &[Value]| attend_across(tape, (&t[0], &t[1]), 2, drop);
        compare_on_gpu(&device, &inputs, &across);
    }
}

#[test]
fn errors_of_masked_patches() {
    let removed = Tensor::new(&[[1_f32, 0.0, 1.0], [1.0, 1.0, 0.0]], &Device::Cpu).unwrap();
    let target = numbers(&[2, 3, 20], 2);
    check(&[numbers(&[2, 3, 20], 1)], &|tape, t| {
        let removed = removed.to_device(t[0].tensor.device())?;
        let removed = Removed { patches: &removed, count: 4 };
        masked_error(tape, &t[0], &like(&target, &t[0]), removed)
    });
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let ones = Tensor::ones((100, 1000), DType::F32, &Device::Cpu).unwrap();
    let dropped =
        |how| flat(&forward(std::slice::from_ref(&ones), &|tape, t| dropout(tape, &t[0], how)));
    let how = Dropout { probability: 0.1, seed: 0x1234_5678_9abc_def0 };
    let out = dropped(how);
    let zeros = out.iter().filter(|value| **value == 0.0).count() as f64 / 1e5;
    assert!((zeros - 0.1).abs() < 0.005, "{zeros}"); // five standard deviations
    assert!(out.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.9).abs() < 1e-6));
    let other = dropped(Dropout { seed: 5, ..how });
    let both = out.iter().zip(&other).filter(|(a, b)| **a == 0.0 && **b == 0.0).count();
    assert!((both as f64 / 1e5 - 0.01).abs() < 0.002, "two seeds are not independent: {both}");
}

/// A share of less than one in 2^32 is none: no kernel may wait for what it never drops.
#[test]
fn a_dropout_too_small_to_drop_anything_is_none() {
    let least = Dropout { probability: 1e-12, seed: 7 };
    assert!(!least.drops() && Dropout { probability: 1e-9, ..least }.drops());
    let ones = Tensor::ones((3, 5), DType::F32, &Device::Cpu).unwrap();
    let out = forward(std::slice::from_ref(&ones), &|tape, t| dropout(tape, &t[0], least));
    assert_eq!(flat(&out), flat(&ones));
}

#[test]
fn the_backward_pass_drops_what_the_forward_pass_dropped() {
    let how = Dropout { probability: 0.3, seed: 77 };
    let ones = Tensor::ones((40, 50), DType::F32, &Device::Cpu).unwrap();
    for dtype in [DType::F32, DType::F64] {
        let (out, gradients) =
            run(std::slice::from_ref(&ones), dtype, &|tape, t| dropout(tape, &t[0], how));
        let wanted = (&out * factors(&out)).unwrap();
        assert_close("gradient", &gradients[0], &wanted, 1e-6);
    }
}

/// With dropout the plain version cannot be asked; finite differences of our own one, whose f32
/// leaves some 1e-3 of them, can.
#[test]
fn dropped_probabilities_are_dropped_in_both_directions() {
    let drop = Dropout { probability: 0.4, seed: 3 };
    let qkv = numbers(&[1, 6, 24], 1);
    let operation = |tape: &Tape, t: &[Value]| attend(tape, &t[0], 2, drop);
    let (_, gradients) = run(std::slice::from_ref(&qkv), DType::F32, &operation);
    let moved = |place: usize, by: f32| {
        let mut values: Vec<f32> = qkv.flatten_all().unwrap().to_vec1().unwrap();
        values[place] += by;
        let qkv = Tensor::from_vec(values, qkv.dims(), &Device::Cpu).unwrap();
        flat(&objective(&forward(&[qkv], &operation)))[0]
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
            let (a, b) =
                run(&inputs, DType::F32, &|tape, t| norm(tape, &t[0], (&t[1], &t[2]), 1e-6));
            let (c, d) =
                run(&inputs[..1], DType::F32, &|tape, t| attend(tape, &t[0], 3, Dropout::NONE));
            let weights = [inputs[0].clone(), numbers(&[300, 36], 4), numbers(&[300], 5)];
            let (e, f) = run(&weights, DType::F32, &|tape, t| linear(tape, &t[0], &t[1], &t[2]));
            [vec![a], b, vec![c], d, vec![e], f].concat().iter().flat_map(flat).collect::<Vec<_>>()
        })
    };
    assert_eq!(all(1), all(3));
}
