//! Who appears in a clip: people, animals, cars, balls, drawn to suit the scene.
//!
//! Next: [`super::clip`] keeps the cast together with scene, camera and light.

use std::f32::consts::{FRAC_PI_2, PI, TAU};
use std::sync::Arc;

use super::animal::{Animal, Bird, Build};
use super::clip::{Actor, Stage};
use super::geometry::{Sway, mix};
use super::noise::Draw;
use super::path::{Course, Path};
use super::person::Person;
use super::scenery::Scene;
use super::skeleton::Action;
use super::texture::{Dye, Pattern, Texture, hue};
use super::things::{Balloon, Car, Lump, Wave};
use super::wardrobe::{Outfit, Wardrobe, tile};

/// The kinds of actors of a DAVIS clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Person,
    Animal,
    Bird,
    Car,
    Ball,
    Creature,
    Balloon,
}

/// Who may appear in a scene: the first one always, those named early more often.
fn roles(scene: Scene) -> Vec<Role> {
    use Role::{Animal, Ball, Balloon, Bird, Car, Creature, Person};
    match scene {
        Scene::Meadow => vec![Animal, Person, Animal, Ball, Balloon, Bird],
        Scene::Street => vec![Car, Person, Person, Animal, Ball],
        Scene::Beach => vec![Animal, Person, Ball, Bird, Creature],
        Scene::Room => vec![Person, Animal, Ball, Creature],
    }
}

/// The two to four actors of a DAVIS clip, back to front.
pub(super) fn several(draw: &mut Draw, stage: &Stage) -> Vec<Actor> {
    let mut roles = roles(stage.scene);
    let count = 2 + draw.below(3);
    let mut chosen = vec![roles.remove(0)];
    while chosen.len() < count {
        let early = draw.unit() * draw.unit();
        chosen.push(roles.remove((early * roles.len() as f32) as usize));
    }
    shuffle(draw, &mut chosen);
    let mut columns: Vec<usize> = (0..count).collect();
    shuffle(draw, &mut columns);
    let share = |index: usize| (index as f32 + 0.5) / count as f32;
    let places = columns.into_iter().zip(chosen).enumerate();
    places
        .map(|(rank, (column, role))| {
            let x = mix(-0.26, 0.26, share(column)) * stage.aspect;
            actor(draw, stage, role, &Lane { x, depth: share(rank) })
        })
        .collect()
}

/// The one or two people of VIP clip `k`, back to front: every clip wears something else.
pub(super) fn people(draw: &mut Draw, stage: &Stage, k: usize) -> Vec<Actor> {
    let count = 1 + k % 2;
    (0..count)
        .map(|index| {
            let outfit = Outfit::ALL[(k + index * 2) % Outfit::ALL.len()];
            let action = Action::ALL[(k + index) % Action::ALL.len()];
            let side = (index as f32 + 0.5) / count as f32 - 0.5;
            let x = (0.5 * side + draw.range(-0.06, 0.06)) * stage.aspect;
            let lane = Lane { x, depth: 0.75 + 0.25 * index as f32 };
            let size = draw.range(0.6, 0.7);
            Actor::Person(Box::new(person(draw, stage, &lane, size, outfit, action)))
        })
        .collect()
}

/// The only person of a JHMDB clip.
pub(super) fn single(draw: &mut Draw, stage: &Stage, action: Action) -> Person {
    let outfit = draw.pick(&Outfit::ALL);
    let x = draw.range(-0.06, 0.06) * stage.aspect;
    let lane = Lane { x, depth: draw.range(0.75, 1.0) };
    let size = draw.range(0.58, 0.66);
    person(draw, stage, &lane, size, outfit, action)
}

fn shuffle<T>(draw: &mut Draw, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, draw.below(last + 1));
    }
}

/// Where an actor has its place: x of the scene, and 0 (far) to 1 (near).
struct Lane {
    x: f32,
    depth: f32,
}

impl Lane {
    /// A way along this lane for something of `size` at middle depth.
    fn path(&self, stage: &Stage, size: f32, course: Course) -> Path {
        let nearest = 0.44;
        let farthest = mix(stage.horizon, nearest, 0.42);
        Path {
            horizon: stage.horizon,
            ground: mix(farthest, nearest, self.depth),
            size: size * mix(0.72, 1.15, self.depth),
            x: self.x,
            course,
        }
    }
}

/// A sway that begins around a zero crossing, where it is fastest: short clips should move too.
fn sway(draw: &mut Draw, low: f32, high: f32) -> Sway {
    let phase = draw.range(-0.08, 0.08) + if draw.chance(0.5) { 0.0 } else { 0.5 };
    Sway { period: draw.range(low, high), phase }
}

fn circle(draw: &mut Draw, stage: &Stage, speed: f32) -> Course {
    // At the nearest or the farthest point, where it goes across the picture.
    let side = if draw.chance(0.5) { 0.0 } else { PI };
    Course::Circle {
        radius: draw.range(0.24, 0.33) * stage.aspect,
        start: side + draw.range(-0.6, 0.6),
        speed: if draw.chance(0.5) { speed } else { -speed },
    }
}

fn forth_and_back(draw: &mut Draw, stage: &Stage, period: f32) -> Course {
    let yaw = FRAC_PI_2 + draw.range(-0.2, 0.2);
    Course::Lane {
        reach: draw.range(0.18, 0.27) * stage.aspect,
        sway: sway(draw, period, 1.4 * period),
        yaw: if draw.chance(0.5) { yaw } else { -yaw },
    }
}

fn actor(draw: &mut Draw, stage: &Stage, role: Role, lane: &Lane) -> Actor {
    match role {
        Role::Person => {
            let outfit = draw.pick(&Outfit::ALL);
            let walks = draw.chance(0.4);
            let action = if walks { Action::Walk } else { draw.pick(&Action::ALL) };
            Actor::Person(Box::new(person(draw, stage, lane, 0.6, outfit, action)))
        }
        Role::Animal => Actor::Animal(animal(draw, stage, lane)),
        Role::Bird => Actor::Bird(bird(draw, stage, lane)),
        Role::Car => Actor::Car(car(draw, stage, lane)),
        Role::Ball => Actor::Lump(ball(draw, stage, lane)),
        Role::Creature => Actor::Lump(creature(draw, stage, lane)),
        Role::Balloon => Actor::Balloon(balloon(draw, stage, lane)),
    }
}

fn person(
    draw: &mut Draw,
    stage: &Stage,
    lane: &Lane,
    size: f32,
    outfit: Outfit,
    action: Action,
) -> Person {
    let course = if action.travels() {
        circle(draw, stage, action.speed())
    } else {
        Course::Stand { yaw: draw.range(-0.8, 0.8), sway: sway(draw, 50.0, 80.0) }
    };
    Person {
        path: lane.path(stage, size, course),
        action,
        verve: draw.range(0.85, 1.1),
        girth: draw.range(0.92, 1.14),
        phase: draw.range(0.0, TAU),
        wardrobe: Wardrobe::draw(draw, outfit, stage.height),
    }
}

fn animal(draw: &mut Draw, stage: &Stage, lane: &Lane) -> Animal {
    let size = if stage.scene == Scene::Meadow { 0.56 } else { 0.44 };
    let course = circle(draw, stage, 0.022);
    let coats = [Pattern::Fur, Pattern::Patches, Pattern::Spots, Pattern::Bands];
    Animal {
        path: lane.path(stage, size, course),
        build: Build::draw(draw),
        coat: fur(draw, stage, 1.8, &coats),
        dark: fur(draw, stage, 0.5, &[Pattern::Fur]),
        phase: draw.range(0.0, TAU),
    }
}

fn bird(draw: &mut Draw, stage: &Stage, lane: &Lane) -> Bird {
    let course = circle(draw, stage, 0.045);
    Bird {
        path: lane.path(stage, 0.34, course),
        altitude: draw.range(0.9, 1.6),
        feathers: fur(draw, stage, 1.2, &[Pattern::Scales, Pattern::Spots]),
        wings: fur(draw, stage, 1.2, &[Pattern::Scales, Pattern::Bands]),
        phase: draw.range(0.0, TAU),
    }
}

fn car(draw: &mut Draw, stage: &Stage, lane: &Lane) -> Car {
    let course = forth_and_back(draw, stage, 170.0);
    let rubber = Dye::draw(draw, 0.6, 0.1, 0.13);
    Car {
        path: lane.path(stage, 0.72, course),
        tall: draw.chance(0.4),
        enamel: bright(draw, stage, &[Pattern::Enamel], 0.75),
        stripe: bright(draw, stage, &[Pattern::Enamel, Pattern::Plaid], 0.4),
        tyre: tile(draw, stage.height, 0.3, Pattern::Leather, &rubber),
        phase: draw.range(0.0, TAU),
    }
}

fn ball(draw: &mut Draw, stage: &Stage, lane: &Lane) -> Lump {
    let course = forth_and_back(draw, stage, 120.0);
    let size = draw.range(0.085, 0.12);
    let belted = draw.chance(0.5);
    Lump {
        path: lane.path(stage, size, course),
        rolls: true,
        bounce: draw.range(0.3, 1.8),
        period: draw.range(16.0, 24.0),
        waves: Default::default(),
        skin: bright(draw, stage, &[Pattern::Patches, Pattern::Dots, Pattern::Stripes], 0.8),
        belt: belted.then(|| bright(draw, stage, &[Pattern::Leather], 0.8)),
        face: false,
        phase: draw.range(0.0, TAU),
    }
}

fn creature(draw: &mut Draw, stage: &Stage, lane: &Lane) -> Lump {
    let course = forth_and_back(draw, stage, 150.0);
    let size = draw.range(0.13, 0.18);
    let skins = [Pattern::Fur, Pattern::Spots, Pattern::Bands, Pattern::Scales];
    Lump {
        path: lane.path(stage, size, course),
        rolls: false,
        bounce: draw.range(0.2, 0.7),
        period: draw.range(20.0, 30.0),
        waves: Wave::draw_all(draw, 0.3),
        skin: fur(draw, stage, 0.8, &skins),
        belt: None,
        face: true,
        phase: draw.range(0.0, TAU),
    }
}

fn balloon(draw: &mut Draw, stage: &Stage, lane: &Lane) -> Balloon {
    let course = Course::Stand { yaw: 0.0, sway: sway(draw, 60.0, 90.0) };
    Balloon {
        path: lane.path(stage, 0.58, course),
        altitude: draw.range(0.3, 0.6),
        envelope: bright(draw, stage, &[Pattern::Stripes, Pattern::Plaid], 0.8),
        belt: bright(draw, stage, &[Pattern::Dots, Pattern::Cloth], 0.7),
        basket: bright(draw, stage, &[Pattern::Knit], 0.4),
        phase: draw.range(0.0, TAU),
    }
}

/// Fur or feathers in the browns and greys of animals, over `span` units of the body.
fn fur(draw: &mut Draw, stage: &Stage, span: f32, patterns: &[Pattern]) -> Arc<Texture> {
    let (turn, saturation) = (draw.range(0.04, 0.13), draw.range(0.15, 0.6));
    let light = draw.range(0.35, 0.85);
    let pale = hue(turn, 0.12, draw.range(0.75, 0.95));
    let colors = [hue(turn, saturation, light), hue(turn, saturation, 0.35 * light), pale];
    let pattern = draw.pick(patterns);
    tile(draw, stage.height, span, pattern, &Dye { colors, seed: 0 })
}

/// A pattern in any colour, as toys and cars have.
fn bright(draw: &mut Draw, stage: &Stage, patterns: &[Pattern], saturation: f32) -> Arc<Texture> {
    let (turn, light) = (draw.unit(), draw.range(0.45, 0.85));
    let dye = Dye::draw(draw, turn, saturation, light);
    let pattern = draw.pick(patterns);
    tile(draw, stage.height, 1.0, pattern, &dye)
}
