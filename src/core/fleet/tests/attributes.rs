//! What attributes cost, and that they are shared.

use std::mem::offset_of;
use std::sync::Arc;

use arcstr::ArcStr;

use super::world::willing;
use crate::core::fleet::{Profile, Shared, Therapist};

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

#[test]
fn what_therapists_have_alike_is_kept_once() {
    let profile = |language: &str| {
        let words = |word: &str| Arc::from([word.to_owned()]);
        Arc::new(Profile { specializations: words("hilot"), languages: words(language), ..Profile::default() })
    };
    let mut shared = Shared::default();
    let [ana, bea, cora] = [("Ana", "fil"), ("Ana", "fil"), ("Cora", "en")].map(|(name, language)| {
        let mut t = Therapist { first_name: name.into(), profile: profile(language), ..willing(1) };
        let before = t.clone();
        shared.share(&mut t);
        assert_eq!(t, before, "sharing changes nothing that can be seen");
        t
    });
    assert!(ArcStr::ptr_eq(&ana.first_name, &bea.first_name) && Arc::ptr_eq(&ana.profile, &bea.profile));
    assert!(!Arc::ptr_eq(&ana.profile, &cora.profile), "they speak other languages");
    assert!(Arc::ptr_eq(&ana.profile.specializations, &cora.profile.specializations));
}
