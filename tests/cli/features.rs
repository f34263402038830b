//! `propagate features`: patch features for other programs.

use super::place::{Place, assert_same};

/// Shapes of all tensors of a safetensors file.
fn shapes(place: &Place, file: &str) -> Vec<(String, Vec<usize>)> {
    let bytes = std::fs::read(place.path(file)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<(String, Vec<usize>)> =
        file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
    shapes.sort();
    shapes
}

fn values(place: &Place, file: &str, name: &str) -> Vec<f32> {
    let tensors = candle_core::safetensors::load(place.path(file), &candle_core::Device::Cpu);
    tensors.unwrap()[name].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn patches_and_cls_of_every_image() {
    let place = Place::with(&["davis"]);
    let images = "davis/JPEGImages/480p/sample-00";
    let line =
        format!("features --weights random:vitti16@0 --images {images} --out made/f.safetensors");
    let ran = place.run(&line).exits(0);
    assert!(ran.out.is_empty() && ran.err.contains("features of 4 images in made/f.safetensors"));
    let found = shapes(&place, "made/f.safetensors");
    assert_eq!(found.len(), 8);
    assert_eq!(found[0], ("00000.cls".into(), vec![192]));
    assert_eq!(found[1], ("00000.patches".into(), vec![6, 10, 192]));
    place.run(&line.replace("made/", "again/")).exits(0);
    assert_same(&place.files("again"), &place.files("made"), "the same features in other bytes");
    // One image, another size, unit length; raw pixels have no CLS.
    let line = format!(
        "features --weights pixels --images {images}/00001.jpg --size 32x64 --normalize --out n.safetensors -q"
    );
    assert_eq!(place.run(&line).exits(0).err, "");
    assert_eq!(shapes(&place, "n.safetensors"), [("00001.patches".into(), vec![2, 4, 768])]);
    let values = values(&place, "n.safetensors", "00001.patches");
    let norms = values.chunks(768).map(|row| row.iter().map(|v| v * v).sum::<f32>());
    norms.for_each(|norm| assert!((norm - 1.0).abs() < 1e-4, "{norm}"));
}

#[test]
fn what_cannot_be_read_or_named() {
    let place = Place::with(&["davis", "vip"]);
    place.write("nothing/notes.txt", "no image");
    place.write("broken/0.png", b"\x89PNG\r\n\x1a\nand no more");
    place.write("good.safetensors", "an earlier file");
    let line = |images: &str| {
        format!("features --weights pixels --images {images} --out good.safetensors")
    };
    place.run(&line("nothing")).exits(1).refuses(&["nothing: no .jpg", "pass images"]);
    place.run(&line("broken")).exits(1).refuses(&["broken/0.png", "copy or extract"]);
    place.run(&line("nowhere.jpg")).exits(1).refuses(&["nowhere.jpg", "check the path"]);
    let twice = "davis/JPEGImages/480p/sample-00 davis/JPEGImages/480p/sample-01";
    place.run(&line(twice)).exits(2).refuses(&["both be stored as 00000"]);
    place
        .run("features --images nothing --out f.safetensors")
        .exits(2)
        .refuses(&["--weights FILE"]);
    place
        .run("features --images good.jpg --out f.safetensors")
        .exits(2)
        .refuses(&["--weights FILE"]);
    assert_eq!(place.text("good.safetensors"), "an earlier file");
}
