//! What attributes cost, and that they are shared.

use std::mem::offset_of;
use std::sync::Arc;

use arcstr::ArcStr;

use super::world::willing;
use crate::core::fleet::{Fleet, Profile, Shared, Therapist};

#[test]
fn a_therapist_takes_88_bytes_and_what_answers_show_lies_together() {
    assert_eq!(size_of::<Therapist>(), 88);
    let shown = [
        offset_of!(Therapist, services),
        offset_of!(Therapist, first_name),
        offset_of!(Therapist, profile),
        offset_of!(Therapist, uuid),
        offset_of!(Therapist, total_reviews),
        offset_of!(Therapist, average_rating),
    ];
    assert!(shown.into_iter().all(|at| at < offset_of!(Therapist, ties)), "{shown:?}");
}

/// One who says of himself just this, in memory of his own.
fn speaks(name: &str, language: &str) -> Therapist {
    let words = |word: &str| Arc::from([word.to_owned()]);
    let profile = Profile { specializations: words("hilot"), languages: words(language), ..Profile::default() };
    Therapist { first_name: name.into(), profile: Arc::new(profile), ..willing(1) }
}

#[test]
fn what_therapists_have_alike_is_kept_once() {
    let mut shared = Shared::default();
    let [ana, bea, cora] = [("Ana", "fil"), ("Ana", "fil"), ("Cora", "en")].map(|(name, language)| {
        let mut t = speaks(name, language);
        let before = t.clone();
        shared.share(&mut t);
        assert_eq!(t, before, "sharing changes nothing that can be seen");
        t
    });
    assert!(ArcStr::ptr_eq(&ana.first_name, &bea.first_name) && Arc::ptr_eq(&ana.profile, &bea.profile));
    assert!(!Arc::ptr_eq(&ana.profile, &cora.profile), "they speak other languages");
    assert!(Arc::ptr_eq(&ana.profile.specializations, &cora.profile.specializations));
}

#[test]
fn who_is_read_again_goes_on_sharing_what_has_not_changed() {
    let fleet = Fleet::new();
    let now = |t: Therapist| {
        // Nobody else holds what is put.
        let copy = Therapist { profile: Arc::new((*t.profile).clone()), ..t.clone() };
        fleet.put(copy);
        let known = fleet.therapist(t.provider).unwrap();
        assert_eq!(*known, t);
        known
    };
    let first = now(speaks("Ana", "fil"));
    let off = now(Therapist { available: false, ..speaks("Ana", "fil") });
    assert!(ArcStr::ptr_eq(&first.first_name, &off.first_name) && Arc::ptr_eq(&first.profile, &off.profile));
    let renamed = now(speaks("Bea", "en"));
    assert!(Arc::ptr_eq(&first.profile.specializations, &renamed.profile.specializations));
}
