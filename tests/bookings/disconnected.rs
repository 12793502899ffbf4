//! Therapists whose app is not connected: asked like the others, or passed over until they are back, by setting.

use spacall::core::fleet::Duty;
use spacall::core::settings::{Disconnected, DispatchOverride, Settings};

use super::dispatcher::{Node, hear_offer};
use super::world::World;
use crate::support::until;

const SKIP: fn(&mut Settings) = |settings| settings.dispatch.disconnected = Disconnected::Skip;

#[tokio::test]
async fn who_is_not_connected_is_passed_over_and_asked_once_he_is_back() {
    let w = World::new().await;
    let (near, far) = (w.therapist().await, w.therapist().await);
    let node = Node::start(&w, SKIP);
    node.place(&w, near, 0.5).await;
    node.place(&w, far, 2.0).await;
    let mut app = node.bus.connect(far.user, true);
    node.book(&w, w.customer().await).await;
    hear_offer(&mut app).await;
    assert_eq!(node.duty(near), Duty::Idle, "nearer, but nobody would hear of it");

    let second = node.book(&w, w.customer().await).await;
    let skipped = "SELECT count(*) FROM dispatch_decisions WHERE booking_id = $1 AND kind = 'disconnected'";
    while w.one(skipped, second.0).await == 0 {
        tokio::task::yield_now().await;
    }
    let mut back = node.bus.connect(near.user, true);
    node.dispatcher.supply_appeared();
    hear_offer(&mut back).await;
    node.stop().await;
}

#[tokio::test]
async fn who_was_chosen_is_asked_connected_or_not() {
    let w = World::new().await;
    let chosen = w.therapist().await;
    let node = Node::start(&w, SKIP);
    node.place(&w, chosen, 0.5).await;
    let mut new = w.new_booking(w.customer().await).await;
    new.chosen = Some(chosen.provider);
    node.create(new).await;
    until("he is asked", || matches!(node.duty(chosen), Duty::Offered { .. })).await;
    node.stop().await;
}

#[tokio::test]
async fn unless_a_setting_says_otherwise_everybody_is_asked() {
    let w = World::new().await;
    let near = w.therapist().await;
    let other_service = DispatchOverride {
        service: Some("hilot".to_owned()),
        disconnected: Some(Disconnected::Skip),
        ..DispatchOverride::default()
    };
    let node = Node::start(&w, |settings| settings.dispatch.overrides = vec![other_service]);
    node.place(&w, near, 0.5).await;
    node.book(&w, w.customer().await).await;
    until("he is asked", || matches!(node.duty(near), Duty::Offered { .. })).await;
    node.stop().await;
}
