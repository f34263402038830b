//! The examples under the help of each subcommand.

pub(super) const EXAMPLES: &str = "\
Examples:
  propagate davis --data sample                         rendered clips, no download
  propagate check davis --data DAVIS                    is the dataset whole?
  propagate davis --data DAVIS --weights cropmae.pth    the published protocol
  propagate davis --data DAVIS --weights dino.pth --preset dino
  propagate score davis --data DAVIS --predictions runs/mine/predictions

Exit status: 0 success, 1 failure (no clip could be done), 2 wrong usage, 3 done, except for some
clips, pictures or the page (check: errors found), 130 stopped by Ctrl-C, 143 by SIGTERM: finished
clips are kept, and the same command continues.";

pub(super) const EVALUATE_EXAMPLES: &str = "\
Examples:
  propagate davis --data sample                                 rendered clips, the shipped encoder
  propagate davis --data DAVIS --weights w.pth --dry-run        print what would be done
  propagate davis --data DAVIS --weights w.pth --limit 2        the first two clips
  propagate davis --data DAVIS --weights w.pth --preset dino    another published protocol
  propagate davis --data DAVIS --weights w.pth --topk 5         one value changed
  propagate davis --data DAVIS --weights a.pth b.pth            one table of both, best first
  propagate davis --data DAVIS --weights checkpoints/ --export-markdown -    … as Markdown
  propagate davis --data DAVIS --weights w.pth --sweep topk=5,7,10 radius=12,20    one table of six
  propagate davis --data DAVIS --weights w.pth --cache features    encode once, for later runs too
  propagate davis --data DAVIS --weights features:mine    features from a program of your own
  propagate davis --data DAVIS --weights w.pth --overlays mp4 --overlay-errors    films
The same command again continues a stopped run. vip and jhmdb work the same way.";

pub(super) const SCORE_EXAMPLES: &str = "\
Examples:
  propagate score davis --data DAVIS --predictions masks         masks/<clip>/00000.png, …
  propagate score vip --data VIP_Fine --predictions parts --per-item
  propagate score jhmdb --data JHMDB --predictions poses         poses/<action>/<clip>.npy, 2x15xT";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  propagate check davis --data DAVIS          counts, sizes, ids, what is missing
  propagate check jhmdb --data JHMDB --deep   every frame decoded
  propagate check weights cropmae.pth         family, architecture, keys
Exit status 3 if an error was found.";

pub(super) const FEATURES_EXAMPLES: &str = "\
Examples:
  propagate features --weights w.pth --images frames/ --out features.safetensors
  propagate features --weights w.pth --images a.jpg b.png --size 480x880 --normalize \\
      --out f.safetensors";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  propagate completions bash > ~/.local/share/bash-completion/completions/propagate
  propagate completions zsh > ~/.zfunc/_propagate
  propagate completions fish > ~/.config/fish/completions/propagate.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  propagate man ~/.local/share/man/man1    then: man propagate-davis";
