//! Sorts things that wait for each other, and finds those that wait in a circle.

use std::borrow::Borrow;
use std::collections::HashMap;

/// An order of `0..n`, and the circles that prevent one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    /// Everything that is on no reported circle, each behind all it waits for; otherwise in the given order.
    pub(super) order: Vec<usize>,
    /// Rings of things that wait for each other, each thing in one ring at most: `[a, b]` is a → b → a.
    pub(super) cycles: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    /// On the path at this depth.
    Path(usize),
    Done,
}

/// Sorts by what each waits for. Indexes beyond the end are ignored.
///
/// The search goes depth first with its own stack, because a chain may be longer than the thread's stack. When the path
/// meets itself the ring is reported and taken out. So the work stays linear, and a cycle behind another one still
/// shows.
pub(super) fn sort(waits: &[Vec<usize>]) -> Sorted {
    let mut sorted = Sorted { order: Vec::with_capacity(waits.len()), cycles: Vec::new() };
    let mut marks = vec![Mark::New; waits.len()];
    let mut path: Vec<(usize, std::slice::Iter<'_, usize>)> = Vec::new();
    for root in 0..waits.len() {
        if marks[root] == Mark::New {
            marks[root] = Mark::Path(0);
            path.push((root, waits[root].iter()));
        }
        while let Some((here, ahead)) = path.last_mut() {
            let Some(&next) = ahead.next() else {
                marks[*here] = Mark::Done;
                sorted.order.push(*here);
                path.pop();
                continue;
            };
            match marks.get(next) {
                Some(Mark::New) => {
                    marks[next] = Mark::Path(path.len());
                    path.push((next, waits[next].iter()));
                }
                Some(&Mark::Path(depth)) => {
                    let ring: Vec<usize> = path.drain(depth..).map(|(index, _)| index).collect();
                    ring.iter().for_each(|&index| marks[index] = Mark::Done);
                    sorted.cycles.push(from_the_first(ring));
                }
                Some(Mark::Done) | None => {}
            }
        }
    }
    sorted
}

/// Turns a ring so that it begins with the thing that stands first in the file.
fn from_the_first(mut ring: Vec<usize>) -> Vec<usize> {
    let first = ring.iter().enumerate().min_by_key(|(_, index)| **index).map_or(0, |(at, _)| at);
    ring.rotate_left(first);
    ring
}

/// The order of things known by name, each behind all it waits for. Unknown names are ignored.
pub(super) fn by_name<'a, N: Borrow<str> + 'a>(
    names: impl Iterator<Item = &'a str>,
    waits: impl Iterator<Item = &'a Vec<N>>,
) -> Vec<usize> {
    let index: HashMap<&str, usize> = names.enumerate().map(|(index, name)| (name, index)).collect();
    let waits: Vec<Vec<usize>> = waits
        .map(|names| names.iter().filter_map(|name| index.get(name.borrow()).copied()).collect())
        .collect();
    sort(&waits).order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_nothing_keeps_its_place() {
        assert_eq!(sort(&[vec![], vec![], vec![]]), Sorted { order: vec![0, 1, 2], cycles: vec![] });
        assert_eq!(sort(&[vec![2], vec![], vec![1]]), Sorted { order: vec![1, 2, 0], cycles: vec![] });
    }

    #[test]
    fn separate_cycles_are_all_found_and_what_waits_for_them_is_in_none() {
        let sorted = sort(&[vec![1, 3], vec![2], vec![1], vec![4], vec![5], vec![3]]);
        assert_eq!(sorted, Sorted { order: vec![0], cycles: vec![vec![1, 2], vec![3, 4, 5]] });
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_needs_no_deep_stack() {
        let length = 100_000;
        let mut chain: Vec<Vec<usize>> = (1..=length).map(|next| vec![next]).collect();
        assert_eq!(sort(&chain).order, (0..length).rev().collect::<Vec<_>>());
        chain[length - 1] = vec![0];
        assert_eq!(sort(&chain).cycles, [(0..length).collect::<Vec<_>>()]);
    }
}
