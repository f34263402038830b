//! `propagate reconstruct` and `propagate attention`: figures of what a network does.

use cropmae::autoencoder::{Method, Parameters};
use cropmae::files::safetensors;
use cropmae::image::{Rgb, decode};
use cropmae::pretrain::checkpoint::{self, Place as Reached, State};
use cropmae::pretrain::config::{Config, Preset};

use super::place::{Place, assert_same};

const IMAGES: &str = "davis/JPEGImages/480p/sample-00";
/// Pixels between pictures.
const GUTTER: usize = 4;

/// Writes checkpoints of an untrained network with views of 64 pixels in 16 patches: one of ours,
/// one without anything but tensors, and the encoder alone.
fn checkpoints(place: &Place, method: Method) {
    let mut config = Config { method, masking_ratio: 0.5, ..Preset::Tiny.config() };
    config.encoder.depth = 1;
    config.views.size = 64;
    let parameters =
        Parameters::seeded(&config.autoencoder(), 5, &candle_core::Device::Cpu).unwrap();
    let tensors = parameters.snapshot().unwrap();
    let state = State::new(Reached::default(), config, "data".into());
    let bare = tensors.clone().into_iter().collect();
    safetensors::write(&place.path("bare.safetensors"), &bare, &Default::default()).unwrap();
    let encoder = place.path("encoder.safetensors");
    checkpoint::export(&encoder, &tensors, &state, candle_core::DType::F32).unwrap();
    checkpoint::save(&place.path("ours.safetensors"), tensors, &state).unwrap();
}

fn picture(place: &Place, file: &str) -> Rgb {
    decode::read(&place.path(file)).unwrap()
}

/// Height and width of pictures in rows and columns.
fn tiled(rows: usize, columns: usize, (height, width): (usize, usize)) -> (usize, usize) {
    (rows * (height + GUTTER) - GUTTER, columns * (width + GUTTER) - GUTTER)
}

#[test]
fn reconstructions_of_every_image_and_of_all() {
    let place = Place::with(&["davis"]);
    checkpoints(&place, Method::Cropmae);
    let line =
        format!("reconstruct --weights ours.safetensors --images {IMAGES} --views 2 --out a");
    let ran = place.run(&line).exits(0).says(&["reconstructions of 4 images, a/figure.png"]);
    assert!(ran.out.is_empty());
    let names = ["00000.png", "00001.png", "00002.png", "00003.png", "figure.png"];
    assert_eq!(place.names("a"), names);
    let size = |picture: &Rgb| (picture.height, picture.width);
    assert_eq!(size(&picture(&place, "a/00002.png")), tiled(2, 4, (64, 64)));
    assert_eq!(size(&picture(&place, "a/figure.png")), tiled(8, 4, (64, 64)));

    // an image looks the same alone, and otherwise with another seed
    let one = |more: &str, out: &str| {
        place.run(&format!(
            "reconstruct --weights ours.safetensors --images {IMAGES}/00002.jpg --out {out} -q {more}"
        ))
    };
    assert_eq!(one("--views 2", "b").exits(0).err, "");
    assert_eq!(picture(&place, "a/00002.png"), picture(&place, "b/00002.png"));
    one("--views 2 --seed 1", "c").exits(0);
    assert_ne!(picture(&place, "a/00002.png"), picture(&place, "c/00002.png"));
    one("--masking-ratio 0.9 --strategy same-views", "d").exits(0);
    let same = picture(&place, "d/00002.png");
    let pixel = |column: usize| same.data[3 * column..][..3].to_vec();
    assert_eq!(pixel(5), pixel(3 * (64 + GUTTER) + 5), "view 1 is view 2");
}

#[test]
fn checkpoints_of_other_programs_are_looked_at_with_what_their_papers_say() {
    let place = Place::with(&["davis"]);
    checkpoints(&place, Method::Mae);
    let line = format!(
        "reconstruct --weights bare.safetensors --images {IMAGES}/00000.jpg --masking-ratio 0.75 --out a"
    );
    place.run(&line).exits(0).says(&[
        "--decoder-heads",
        "(16)",
        "if not, pass --normalize-target no",
    ]);
    let found = picture(&place, "a/00000.png");
    assert_eq!((found.height, found.width), tiled(1, 3, (64, 64)), "MAE has no view 1");
    let told = format!("{line} --decoder-heads 4 --normalize-target no");
    assert!(!place.run(&told).exits(0).err.contains("--decoder-heads"));
    place.run(&format!("{line} --strategy random-views")).exits(2).refuses(&["--strategy", "MAE"]);
    place.run(&format!("{line} --decoder-heads 5")).exits(1).refuses(&["decoder.heads (5)"]);
}

#[test]
fn reconstructions_that_cannot_be_made() {
    let place = Place::with(&["davis"]);
    checkpoints(&place, Method::Cropmae);
    let run = |weights: &str, more: &str| {
        place.run(&format!(
            "reconstruct --weights {weights} --images {IMAGES}/00000.jpg --out a {more}"
        ))
    };
    run("encoder.safetensors", "").exits(1).refuses(&["without a decoder", "checkpoint-*"]);
    for word in ["sample", "pixels", "random:vits16@0"] {
        run(word, "").exits(2).refuses(&["--weights", word, "without a decoder"]);
    }
    run("nowhere.pth", "").exits(1).refuses(&["nowhere.pth", "nothing is there"]);
    run("ours.safetensors", "--decoder-heads 2").exits(1).refuses(&["says itself", "leave"]);
    run("ours.safetensors", "--masking-ratio 0.99").exits(2).refuses(&["--masking-ratio", "0.99"]);
    // CropMAE's ratio leaves nothing of 16 patches
    run("bare.safetensors", "").exits(2).refuses(&["--masking-ratio", "take a lower one"]);
    place.cut("ours.safetensors", 0.9);
    run("ours.safetensors", "").exits(1).refuses(&["ours.safetensors", "damaged"]);
    run("ours.safetensors", "--views 0").exits(2);
    assert!(!place.path("a").exists(), "nothing is left of what failed");
    place.write("figure.png", std::fs::read(place.path(&format!("{IMAGES}/00000.jpg"))).unwrap());
    let line =
        "reconstruct --weights bare.safetensors --masking-ratio 0.5 --images figure.png --out a";
    place.run(line).exits(2).refuses(&["figure.png", "rename"]);
}

#[test]
fn attention_of_every_head_or_of_all() {
    let place = Place::with(&["davis"]);
    let line =
        |more: &str| format!("attention --weights random:vitti16@0 --images {IMAGES} {more}");
    let ran = place.run(&line("--out a")).exits(0);
    assert!(ran.out.is_empty());
    let ran = ran.says(&["attention of 3 heads, 4 images, a/figure.png"]);
    drop(ran);
    let size = |file: &str| {
        let picture = picture(&place, file);
        (picture.height, picture.width)
    };
    assert_eq!(size("a/00001.png"), tiled(1, 4, (96, 160)));
    assert_eq!(size("a/figure.png"), tiled(4, 4, (96, 160)));
    assert_eq!(place.run(&line("--mean --size 64x80 --out b -q")).exits(0).err, "");
    assert_eq!(size("b/00001.png"), tiled(1, 2, (64, 80)));
    // pixels of no whole patch are not shown
    place.run(&line("--size 70x100 --out c")).exits(0);
    assert_eq!(size("c/00001.png"), tiled(1, 4, (64, 96)));
    place.run(&line("--layer 2 --out d")).exits(0);
    assert_ne!(picture(&place, "a/00001.png"), picture(&place, "d/00001.png"));
}

#[test]
fn attention_that_cannot_be_drawn() {
    let place = Place::with(&["davis"]);
    place.write("broken/0.png", b"\x89PNG\r\n\x1a\nand no more");
    let line = |weights: &str, images: &str, more: &str| {
        format!("attention --weights {weights} --images {images} --out a {more}")
    };
    let random = "random:vitti16@0";
    place.run(&line("pixels", IMAGES, "")).exits(2).refuses(&["no attention in pixels"]);
    place.run(&line(random, IMAGES, "--layer mean-last2")).exits(2).refuses(&["--layer"]);
    place.run(&line(random, IMAGES, "--layer 13")).exits(2).refuses(&["--layer", "1 to 12"]);
    place.run(&line(random, IMAGES, "--size 8x8")).exits(2).refuses(&["--size", "patch of 16"]);
    place.run(&line(random, "broken", "")).exits(1).refuses(&["broken/0.png"]);
    place.run(&line(random, "nowhere", "")).exits(1).refuses(&["nowhere"]);
    place.run(&line(random, IMAGES, "--mean --per-head")).exits(2);
    place
        .run(&format!("attention --images {IMAGES} --out a"))
        .exits(2)
        .refuses(&["--weights FILE"]);
}

/// The figures have the images' names: in the images' own folder they would replace them.
#[test]
fn figures_do_not_go_where_the_images_are() {
    let place = Place::with(&["davis"]);
    checkpoints(&place, Method::Cropmae);
    let image = std::fs::read(place.path(&format!("{IMAGES}/00000.jpg"))).unwrap();
    place.write("p/a.jpg", image);
    let before = place.files("p");
    let verbs = ["attention --weights random:vitti16@0", "reconstruct --weights ours.safetensors"];
    for verb in verbs {
        for (images, out) in [("p", "p"), ("p", "p/new"), ("p", "q/../p"), ("p/a.jpg", "./p")] {
            let ran = place.run(&format!("{verb} --images {images} --out {out}")).exits(2);
            ran.refuses(&["--out: ", "this command reads", "name another"]);
        }
        assert_same(&place.files("p"), &before, "changed");
        place.run(&format!("{verb} --images p/a.jpg --out p/new -q")).exits(0);
        place.remove("p/new");
    }
}
