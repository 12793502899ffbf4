//! Traits by a small number: therapists differ in thousands of ways, not in millions. Some 30,000 among 100,000 whose
//! services, words and ratings are drawn at random.

use std::collections::HashMap;

use super::chunk::FREE;
use super::pool::Pool;
use super::sync::AtomicU64;
use super::traits::Traits;

/// So many are told apart; few where tests compare with brute force, so that they run out.
const CLASSES: usize = if cfg!(test) { 40 } else { 1 << 16 };
/// Of whoever comes when all are taken: it passes every sieve, and tells nothing.
pub(super) const ANY: u16 = 0;

/// By class: what those in it have.
#[derive(Debug)]
pub(super) struct Classes(Pool<AtomicU64, 1_024>);

impl Classes {
    pub(super) fn new() -> Self {
        Self(Pool::new(CLASSES))
    }

    #[inline]
    pub(super) fn traits(&self, class: u16) -> Traits {
        match self.0.get(class.into()) {
            Some(traits) if class != ANY => Traits::from_bits(traits.load(FREE)),
            _ => Traits::any(),
        }
    }
}

/// The writer's book of them. A class is given to other traits when nobody is left in it: a search that read it before
/// finds that the words of those who were have moved.
#[derive(Debug, Default)]
pub(super) struct ClassBook {
    known: HashMap<u64, u16>,
    /// By class: how many are in it.
    members: Vec<u32>,
    free: Vec<u16>,
}

impl ClassBook {
    /// The class of these traits, with one member more.
    pub(super) fn join(&mut self, classes: &Classes, traits: Traits) -> u16 {
        let class = match self.known.get(&traits.bits()) {
            Some(class) => *class,
            None if traits == Traits::any() => ANY,
            None => self.add(classes, traits),
        };
        if class != ANY {
            self.members[class as usize] += 1;
        }
        class
    }

    fn add(&mut self, classes: &Classes, traits: Traits) -> u16 {
        if self.members.is_empty() {
            self.members.push(0);
        }
        let class = match self.free.pop() {
            Some(class) => class,
            None if self.members.len() < CLASSES => {
                self.members.push(0);
                (self.members.len() - 1) as u16
            }
            None => return ANY,
        };
        classes.0.ensure(class.into());
        if let Some(known) = classes.0.get(class.into()) {
            known.store(traits.bits(), FREE);
        }
        self.known.insert(traits.bits(), class);
        class
    }

    /// One member less.
    pub(super) fn leave(&mut self, classes: &Classes, class: u16) {
        if class == ANY {
            return;
        }
        self.members[class as usize] -= 1;
        if self.members[class as usize] == 0 {
            self.known.remove(&classes.traits(class).bits());
            self.free.push(class);
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_given_again_when_nobody_is_left_in_it() {
        let (classes, mut book) = (Classes::new(), ClassBook::default());
        let [one, two] = [1, 2].map(Traits::from_bits);
        let first = book.join(&classes, one);
        assert_eq!((book.join(&classes, one), classes.traits(first)), (first, one));
        book.leave(&classes, first);
        let second = book.join(&classes, two);
        assert_ne!(second, first, "one is in it still");
        book.leave(&classes, first);
        assert_eq!((book.join(&classes, Traits::from_bits(3)), classes.traits(second)), (first, two));
        assert_eq!(classes.traits(first), Traits::from_bits(3));
    }

    #[test]
    fn whoever_comes_when_all_classes_are_taken_passes_every_sieve() {
        let (classes, mut book) = (Classes::new(), ClassBook::default());
        let all: Vec<_> = (1..2 * CLASSES as u64).map(|n| book.join(&classes, Traits::from_bits(n))).collect();
        for (n, class) in (1..).zip(&all) {
            let traits = if n < CLASSES as u64 { Traits::from_bits(n) } else { Traits::any() };
            assert_eq!(classes.traits(*class), traits, "{n}");
        }
        all.iter().for_each(|class| book.leave(&classes, *class));
        assert!(book.known.is_empty() && book.free.len() == CLASSES - 1);
    }
}
