//! Finds texts among many: names of members, or whole items. Equal texts are found in their order.
//!
//! Texts are what models choose, and a hash can be made to collide. So a search costs work, and ends when the budget is spent.

/// The end of a chain.
const NONE: usize = usize::MAX;

/// What follows a position that was taken out.
const TAKEN: usize = usize::MAX - 1;

/// Up to so many texts are simply looked at one after another.
const FEW: usize = 8;

pub(super) struct Index {
    /// For each position the next one of its chain, then for each chain the first one.
    links: Vec<usize>,
    count: usize,
    chains: usize,
}

impl Index {
    /// An index of the positions below `count` that have a text.
    pub(super) fn new<'t>(count: usize, text: &dyn Fn(usize) -> Option<&'t [u8]>) -> Self {
        let chains = if count <= FEW { 1 } else { count.next_power_of_two() };
        let mut index = Self { links: vec![NONE; count.saturating_add(chains)], count, chains };
        for position in (0..count).rev() {
            let Some(text) = text(position) else { continue };
            let head = index.head(text);
            let first = index.link(head);
            index.set(position, first);
            index.set(head, position);
        }
        index
    }

    /// The link to the first position that may have this text.
    fn head(&self, text: &[u8]) -> usize {
        let chain = if self.chains == 1 { 0 } else { hash(text) & self.chains.wrapping_sub(1) };
        self.count.saturating_add(chain)
    }

    fn link(&self, place: usize) -> usize {
        self.links.get(place).copied().unwrap_or(NONE)
    }

    fn set(&mut self, place: usize, to: usize) {
        if let Some(link) = self.links.get_mut(place) {
            *link = to;
        }
    }

    /// Takes out the first position with this text. `None` if there is none, or the work is spent.
    pub(super) fn take<'t>(
        &mut self,
        wanted: &[u8],
        text: &dyn Fn(usize) -> Option<&'t [u8]>,
        work: &mut usize,
    ) -> Option<usize> {
        let mut before = self.head(wanted);
        loop {
            let position = self.link(before);
            if position == NONE {
                return None;
            }
            *work = work.saturating_sub(wanted.len().saturating_add(1));
            if *work == 0 {
                return None;
            }
            if text(position) == Some(wanted) {
                let after = self.link(position);
                self.set(before, after);
                self.set(position, TAKEN);
                return Some(position);
            }
            before = position;
        }
    }

    /// True if the position was taken out.
    pub(super) fn is_taken(&self, position: usize) -> bool {
        self.link(position) == TAKEN
    }
}

/// A hash by multiplication, of eight bytes at a time.
fn hash(text: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio (Knuth, volume 3, 6.4)
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = text.as_chunks();
    let hash = words.iter().fold(text.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(hash, rest) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_taken_in_their_order_until_the_work_is_spent() {
        for count in [5, 200] {
            let texts: Vec<String> = (0..count).map(|number| format!("text {}", number % 4)).collect();
            let text = |position: usize| texts.get(position).filter(|_| position != 1).map(String::as_bytes);
            let mut index = Index::new(count, &text);
            let mut work = 1_000_000;
            let mut take = |wanted: &str| index.take(wanted.as_bytes(), &text, &mut work);
            assert_eq!((take("text 0"), take("text 0")), (Some(0), Some(4)));
            assert_eq!(take("text 1"), (count > 5).then_some(5), "the position without a text is left out");
            assert_eq!(take("text 4"), None);
            let mut work = 3;
            assert_eq!(index.take(b"text 2", &text, &mut work), None);
        }
    }
}
