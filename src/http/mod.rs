//! HTTP and the websocket.
