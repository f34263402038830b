//! The frames of a video file, and from which key frame each can be decoded.

/// The frames of a file, as its packets tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    /// How many there are.
    pub(super) length: usize,
    /// The key frames but the first, in order; none where the times of the packets do not tell.
    keys: Vec<Key>,
}

/// A frame that can be decoded without those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    frame: usize,
    /// A time, in microseconds, half-way to the next frame: no rounding takes it to another one.
    after: i64,
}

impl Index {
    /// Reads lines of a packet's time in seconds, a comma and its flags (`K` for a key frame, `D`
    /// for one that is decoded and not shown), in any order; `None` where there is no packet.
    pub(super) fn of_packets(text: &str) -> Option<Self> {
        let shown = text.lines().filter_map(|line| {
            let (time, flags) = line.trim().split_once(',')?;
            (!flags.contains('D')).then(|| (microseconds(time), flags.contains('K')))
        });
        let packets: Vec<(Option<i64>, bool)> = shown.collect();
        let length = packets.len();
        let timed = packets.into_iter().map(|(time, key)| Some((time?, key)));
        let mut timed = timed.collect::<Option<Vec<_>>>().unwrap_or_default();
        // packets come as they are decoded, frames as they are shown
        timed.sort_unstable();
        let mut keys = Vec::new();
        for (frame, pair) in timed.windows(2).enumerate() {
            let &[(time, key), (next, _)] = pair else { continue };
            if time == next {
                keys.clear();
                break;
            }
            if key && frame > 0 {
                keys.push(Key { frame, after: time + (next - time) / 2 });
            }
        }
        (length > 0).then_some(Self { length, keys })
    }

    /// The same frames, all to be decoded from the start of the file.
    pub(super) fn without_keys(self) -> Self {
        Self { keys: Vec::new(), ..self }
    }

    /// Where to begin for the sake of a frame: a time in seconds, and the number of the first frame
    /// after it. `None`: at the start of the file.
    pub(super) fn seek(&self, frame: usize) -> Option<(String, usize)> {
        let later = self.keys.partition_point(|key| key.frame < frame);
        let key = self.keys.get(later.checked_sub(1)?)?;
        Some((format!("{}us", key.after), key.frame + 1))
    }
}

fn microseconds(seconds: &str) -> Option<i64> {
    let seconds: f64 = seconds.parse().ok()?;
    seconds.is_finite().then(|| (seconds * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_as_they_are_shown() {
        let text = "-0.04,KD_\n0.0,K__\n0.12,___\n0.04,___\n0.08,___\n0.16,K__\n0.20,___\n\n";
        let index = Index::of_packets(text).unwrap();
        assert_eq!(index, Index { length: 6, keys: vec![Key { frame: 4, after: 180_000 }] });
        assert_eq!([0, 1, 4].map(|frame| index.seek(frame)), [None, None, None]);
        assert_eq!(index.seek(5), Some(("180000us".into(), 5)));
    }

    #[test]
    fn times_that_do_not_tell_send_to_the_start() {
        for text in ["N/A,K_\n0.1,K_\n0.2,__", "0.1,K_\n0.2,K_\n0.2,K_\n0.3,__", "nan,K\n1,K\n2,_"]
        {
            let index = Index::of_packets(text).unwrap();
            assert_eq!(index.length, text.lines().count());
            assert_eq!(index.seek(index.length - 1), None, "{text}");
        }
        assert_eq!(Index::of_packets(""), None);
        assert_eq!(Index::of_packets("1.0,KD_\n"), None);
    }
}
