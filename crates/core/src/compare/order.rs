//! Sorts positions by heapsort: never more than `n log n` comparisons, whatever a model answers, and little code in the module.

/// The positions below `count` in ascending order.
pub(super) fn order(count: usize, is_less: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut heap: Vec<usize> = (0..count).collect();
    for root in (0..count >> 1).rev() {
        sink(&mut heap, root, is_less);
    }
    for end in (1..count).rev() {
        heap.swap(0, end);
        if let Some(rest) = heap.get_mut(..end) {
            sink(rest, 0, is_less);
        }
    }
    heap
}

/// Moves a position down until no child is greater.
fn sink(heap: &mut [usize], mut root: usize, is_less: &dyn Fn(usize, usize) -> bool) {
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let Some(mut child) = heap.get(left).copied() else { return };
        let mut place = left;
        if let Some(other) = heap.get(right).copied().filter(|other| is_less(child, *other)) {
            (child, place) = (other, right);
        }
        if !heap.get(root).is_some_and(|parent| is_less(*parent, child)) {
            return;
        }
        heap.swap(root, place);
        root = place;
    }
}
