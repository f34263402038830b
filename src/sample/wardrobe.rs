//! What a person wears, drawn by chance, and the VIP class of every part.
//!
//! Next: [`super::person`] lays the clothes around the joints.

use std::sync::Arc;

use super::geometry::{Point, at, mix};
use super::noise::Draw;
use super::texture::{Color, Dye, Pattern, Texture, blend, hue, pattern_color, scaled};

/// The VIP classes.
pub(super) mod part {
    pub(in crate::sample) const HAT: u8 = 1;
    pub(in crate::sample) const HAIR: u8 = 2;
    pub(in crate::sample) const SUN_GLASSES: u8 = 3;
    pub(in crate::sample) const UPPER_CLOTHES: u8 = 4;
    pub(in crate::sample) const DRESS: u8 = 5;
    pub(in crate::sample) const COAT: u8 = 6;
    pub(in crate::sample) const SOCKS: u8 = 7;
    pub(in crate::sample) const PANTS: u8 = 8;
    pub(in crate::sample) const GLOVES: u8 = 9;
    pub(in crate::sample) const SCARF: u8 = 10;
    pub(in crate::sample) const SKIRT: u8 = 11;
    pub(in crate::sample) const TORSO_SKIN: u8 = 12;
    pub(in crate::sample) const FACE: u8 = 13;
    pub(in crate::sample) const ARMS: [u8; 2] = [14, 15];
    pub(in crate::sample) const LEGS: [u8; 2] = [16, 17];
    pub(in crate::sample) const SHOES: [u8; 2] = [18, 19];
}

/// A tile of `pattern` over `span` units of a body, fine enough for pictures `height` pixels high.
pub(super) fn tile(
    draw: &mut Draw,
    height: usize,
    span: f32,
    pattern: Pattern,
    dye: &Dye,
) -> Arc<Texture> {
    let dye = Dye { seed: draw.bits(), ..*dye };
    let side = (height as f32 * span * 0.6) as usize;
    // Bodies reach farther down than up from their origin.
    let corner = at(-0.5 * span, -0.4 * span);
    let paint = |p: Point, texel: f32| pattern_color(pattern, &dye, p, texel);
    Arc::new(Texture::paint(side.clamp(24, 1024), corner, span, paint))
}

/// What one tile of a garment covers.
const GARMENT: f32 = 0.6;

/// A person's clothes, skin and hair.
#[derive(Debug)]
pub(super) struct Wardrobe {
    pub(super) skin: Arc<Texture>,
    pub(super) skin_color: Color,
    pub(super) hair: Arc<Texture>,
    pub(super) long_hair: bool,
    /// Shirt or dress.
    pub(super) top: Arc<Texture>,
    pub(super) top_class: u8,
    /// How far down the arm the sleeves reach.
    pub(super) sleeve: f32,
    pub(super) bottom: Arc<Texture>,
    /// How far down the leg trousers reach; none for 0.
    pub(super) trousers: f32,
    /// A skirt: its class, and how far down it reaches.
    pub(super) skirt: Option<(u8, f32)>,
    /// A coat over it all, open in front.
    pub(super) coat: Option<Arc<Texture>>,
    /// Socks and where on the leg they begin.
    pub(super) socks: Option<(Arc<Texture>, f32)>,
    pub(super) shoes: Arc<Texture>,
    pub(super) gloves: Option<Arc<Texture>>,
    pub(super) scarf: Option<Arc<Texture>>,
    pub(super) hat: Option<Arc<Texture>>,
    pub(super) glasses: bool,
}

/// The kinds of clothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outfit {
    Trousers,
    Dress,
    Coat,
    Skirt,
    Shorts,
}

impl Outfit {
    /// The five of them, in the order in which clips take them.
    pub(super) const ALL: [Self; 5] =
        [Self::Trousers, Self::Dress, Self::Coat, Self::Shorts, Self::Skirt];

    fn bares_legs(self) -> bool {
        matches!(self, Self::Dress | Self::Skirt | Self::Shorts)
    }

    fn trousers(self, draw: &mut Draw) -> f32 {
        match self {
            Self::Trousers | Self::Coat => 0.455,
            Self::Shorts => draw.range(0.16, 0.24),
            Self::Dress | Self::Skirt => 0.0,
        }
    }

    fn skirt(self, draw: &mut Draw) -> Option<(u8, f32)> {
        match self {
            Self::Dress => Some((part::DRESS, draw.range(0.16, 0.3))),
            Self::Skirt => Some((part::SKIRT, draw.range(0.1, 0.2))),
            _ => None,
        }
    }
}

const PATTERNS: [Pattern; 5] =
    [Pattern::Cloth, Pattern::Stripes, Pattern::Plaid, Pattern::Dots, Pattern::Knit];

impl Wardrobe {
    /// Draws an outfit's colours, patterns and extras for pictures `height` pixels high.
    pub(super) fn draw(draw: &mut Draw, outfit: Outfit, height: usize) -> Self {
        let (coated, dress) = (outfit == Outfit::Coat, outfit == Outfit::Dress);
        let sew = |draw: &mut Draw, patterns: &[Pattern], saturation: f32| {
            garment(draw, height, patterns, saturation)
        };
        let top = sew(draw, &PATTERNS, 0.75);
        let coat = coated.then(|| sew(draw, &[Pattern::Cloth, Pattern::Plaid], 0.4));
        let scarfed = coated || draw.chance(0.15);
        let scarf = scarfed.then(|| sew(draw, &[Pattern::Knit, Pattern::Stripes], 0.8));
        let gloved = coated && draw.chance(0.7);
        let gloves = gloved.then(|| sew(draw, &[Pattern::Leather], 0.3));
        let hat = draw.chance(0.45).then(|| sew(draw, &[Pattern::Cloth, Pattern::Knit], 0.6));
        let shoes = sew(draw, &[Pattern::Leather], 0.3);
        let socked = outfit.bares_legs() && draw.chance(0.7);
        let socks = socked
            .then(|| (sew(draw, &[Pattern::Stripes, Pattern::Knit], 0.5), draw.range(0.3, 0.42)));
        let bottom = match outfit {
            Outfit::Dress => Arc::clone(&top),
            Outfit::Skirt => sew(draw, &PATTERNS, 0.6),
            _ => trousers(draw, height),
        };
        let (skin, skin_color) = skin(draw, height);
        Self {
            skin,
            skin_color,
            hair: hair(draw, height),
            long_hair: dress || draw.chance(0.4),
            top_class: if dress { part::DRESS } else { part::UPPER_CLOTHES },
            sleeve: if coated || draw.chance(0.35) { 0.3 } else { draw.range(0.07, 0.14) },
            trousers: outfit.trousers(draw),
            skirt: outfit.skirt(draw),
            glasses: draw.chance(0.35),
            top,
            bottom,
            coat,
            socks,
            shoes,
            gloves,
            scarf,
            hat,
        }
    }
}

/// A garment of any colour in one of `patterns`; `saturation` is the most it may have.
fn garment(draw: &mut Draw, height: usize, patterns: &[Pattern], saturation: f32) -> Arc<Texture> {
    let (turn, share, light) = (draw.unit(), draw.range(0.45, 1.0), draw.range(0.3, 0.85));
    let dye = Dye::draw(draw, turn, saturation * share, light);
    let pattern = draw.pick(patterns);
    tile(draw, height, GARMENT, pattern, &dye)
}

/// Skin and its mean colour.
fn skin(draw: &mut Draw, height: usize) -> (Arc<Texture>, Color) {
    let light = draw.range(0.42, 0.93);
    let color = hue(draw.range(0.045, 0.075), mix(0.6, 0.36, light), light);
    let flush = blend(color, [0.8, 0.35, 0.3], 0.4);
    let dye = Dye { colors: [color, scaled(color, 0.8), flush], seed: 0 };
    (tile(draw, height, GARMENT, Pattern::Skin, &dye), color)
}

fn hair(draw: &mut Draw, height: usize) -> Arc<Texture> {
    let (turn, light) = (draw.range(0.04, 0.11), draw.range(0.14, 0.62));
    let color = hue(turn, draw.range(0.35, 0.65), light);
    let dye = Dye { colors: [color, color, hue(turn, 0.4, light + 0.25)], seed: 0 };
    tile(draw, height, GARMENT, Pattern::Hair, &dye)
}

/// Blue jeans, or cloth in quiet colours.
fn trousers(draw: &mut Draw, height: usize) -> Arc<Texture> {
    if draw.chance(0.5) {
        let blue = hue(draw.range(0.58, 0.64), draw.range(0.35, 0.6), draw.range(0.3, 0.55));
        let dye = Dye { colors: [blue, scaled(blue, 0.6), blue], seed: 0 };
        return tile(draw, height, GARMENT, Pattern::Denim, &dye);
    }
    garment(draw, height, &[Pattern::Cloth, Pattern::Cloth, Pattern::Plaid], 0.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outfits_are_what_they_are_called() {
        for outfit in Outfit::ALL {
            let wardrobe = Wardrobe::draw(&mut Draw::new(1, 2, 3, 0, 0), outfit, 48);
            assert_eq!(wardrobe.coat.is_some(), outfit == Outfit::Coat);
            assert_eq!(wardrobe.top_class == part::DRESS, outfit == Outfit::Dress);
            let class = wardrobe.skirt.map(|(class, _)| class);
            assert_eq!(class == Some(part::SKIRT), outfit == Outfit::Skirt);
            assert_eq!(wardrobe.trousers > 0.4, !outfit.bares_legs());
        }
    }
}
