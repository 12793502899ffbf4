//! The schema document, written down as data: its tables and columns, enum values, indexes, seed rows and sample queries.
//! Types in PostgreSQL's words; the document's `TIMESTAMP` reads `timestamptz`, its `accuracy DECIMAL(6, 2)` is wider here
//! (docs/schema.md). `!` is a column that is never null.

/// Section 3: table, then `column type; ...`.
pub const TABLES: [(&str, &str); 31] = [
    (
        "users",
        "id bigint!; uuid uuid!; phone varchar(20)!; phone_verified_at timestamptz; email varchar(255); \
         email_verified_at timestamptz; password varchar(255); first_name varchar(100); last_name varchar(100); \
         gender gender; date_of_birth date; profile_photo_url text; is_active boolean; is_verified boolean; \
         last_active_at timestamptz; preferred_language varchar(5); notification_preferences jsonb; remember_token \
         varchar(100); two_factor_secret text; two_factor_recovery_codes text; created_at timestamptz; updated_at \
         timestamptz; deleted_at timestamptz",
    ),
    (
        "personal_access_tokens",
        "id bigint!; tokenable_type varchar(255)!; tokenable_id bigint!; name varchar(255)!; token varchar(64)!; \
         abilities text; last_used_at timestamptz; expires_at timestamptz; created_at timestamptz; updated_at \
         timestamptz",
    ),
    (
        "user_addresses",
        "id bigint!; user_id bigint!; label varchar(50); address_line1 varchar(255)!; address_line2 varchar(255); \
         city varchar(100)!; province varchar(100); postal_code varchar(10); country varchar(2); latitude \
         numeric(10,8)!; longitude numeric(11,8)!; location geography(Point,4326); is_default boolean; created_at \
         timestamptz; updated_at timestamptz",
    ),
    (
        "roles",
        "id bigint!; name varchar(255)!; guard_name varchar(255)!; created_at timestamptz; updated_at timestamptz",
    ),
    (
        "permissions",
        "id bigint!; name varchar(255)!; guard_name varchar(255)!; created_at timestamptz; updated_at timestamptz",
    ),
    ("model_has_roles", "role_id bigint!; model_type varchar(255)!; model_id bigint!"),
    ("model_has_permissions", "permission_id bigint!; model_type varchar(255)!; model_id bigint!"),
    ("role_has_permissions", "permission_id bigint!; role_id bigint!"),
    (
        "providers",
        "id bigint!; uuid uuid!; user_id bigint!; type provider_type!; verification_status verification_status; \
         verified_at timestamptz; verified_by bigint; rejection_reason text; is_active boolean; is_available boolean; \
         accepts_home_service boolean; accepts_store_service boolean; business_name varchar(255); \
         business_registration_number varchar(100); tax_id varchar(50); average_rating numeric(3,2); total_reviews \
         integer; total_bookings integer; total_earnings numeric(12,2); commission_rate numeric(5,2); created_at \
         timestamptz; updated_at timestamptz; deleted_at timestamptz",
    ),
    (
        "therapist_profiles",
        "id bigint!; provider_id bigint!; license_number varchar(100); license_type varchar(100); license_expiry_date \
         date; years_of_experience integer; specializations jsonb; certifications jsonb; languages_spoken jsonb; bio \
         text; professional_photo_url text; service_radius_km integer; base_location_latitude numeric(10,8); \
         base_location_longitude numeric(11,8); base_location geography(Point,4326); default_schedule jsonb; \
         has_own_equipment boolean; equipment_list jsonb; created_at timestamptz; updated_at timestamptz",
    ),
    (
        "store_profiles",
        "id bigint!; provider_id bigint!; store_name varchar(255)!; description text; logo_url text; cover_photo_url \
         text; photos jsonb; address_line1 varchar(255)!; address_line2 varchar(255); city varchar(100)!; province \
         varchar(100); postal_code varchar(10); latitude numeric(10,8)!; longitude numeric(11,8)!; location \
         geography(Point,4326); phone varchar(20); email varchar(255); website varchar(255); operating_hours jsonb; \
         amenities jsonb; number_of_rooms integer; payment_methods jsonb; cancellation_policy text; house_rules text; \
         created_at timestamptz; updated_at timestamptz",
    ),
    (
        "provider_documents",
        "id bigint!; provider_id bigint!; document_type varchar(50)!; file_url text!; file_name varchar(255); \
         file_size bigint; mime_type varchar(100); verification_status document_verification_status; verified_at \
         timestamptz; verified_by bigint; rejection_reason text; expiry_date date; created_at timestamptz; updated_at \
         timestamptz",
    ),
    (
        "provider_locations",
        "id bigint!; provider_id bigint!; latitude numeric(10,8)!; longitude numeric(11,8)!; location \
         geography(Point,4326); accuracy numeric(8,2); heading numeric(5,2); speed numeric(6,2); is_moving boolean; \
         battery_level integer; created_at timestamptz",
    ),
    (
        "service_categories",
        "id bigint!; name varchar(100)!; slug varchar(100)!; description text; icon_url text; sort_order integer; \
         is_active boolean; created_at timestamptz; updated_at timestamptz",
    ),
    (
        "services",
        "id bigint!; category_id bigint; name varchar(255)!; slug varchar(255)!; description text; short_description \
         varchar(500); base_price numeric(10,2)!; currency varchar(3); duration_minutes integer!; image_url text; \
         benefits jsonb; contraindications jsonb; is_active boolean; sort_order integer; created_at timestamptz; \
         updated_at timestamptz; deleted_at timestamptz",
    ),
    (
        "provider_services",
        "id bigint!; provider_id bigint!; service_id bigint!; price numeric(10,2)!; is_available boolean; \
         home_service_enabled boolean; store_service_enabled boolean; base_distance_km integer; per_km_surcharge \
         numeric(8,2); max_travel_distance_km integer; created_at timestamptz; updated_at timestamptz",
    ),
    (
        "bookings",
        "id bigint!; uuid uuid!; booking_number varchar(20)!; customer_id bigint!; provider_id bigint; service_id \
         bigint!; type booking_service_type!; booking_type booking_schedule_type!; requested_at timestamptz!; \
         scheduled_at timestamptz; accepted_at timestamptz; started_at timestamptz; completed_at timestamptz; \
         cancelled_at timestamptz; status booking_status; service_price numeric(10,2)!; distance_surcharge \
         numeric(8,2); platform_fee numeric(8,2); tip_amount numeric(8,2); promo_discount numeric(8,2); total_amount \
         numeric(10,2)!; provider_earnings numeric(10,2)!; commission_amount numeric(8,2)!; commission_rate \
         numeric(5,2)!; customer_notes text; provider_notes text; cancelled_by bigint; cancellation_reason text; \
         cancellation_fee numeric(8,2); created_at timestamptz; updated_at timestamptz; deleted_at timestamptz",
    ),
    (
        "booking_locations",
        "id bigint!; booking_id bigint!; address varchar(500)!; unit_number varchar(50); building_name varchar(255); \
         landmark varchar(255); latitude numeric(10,8)!; longitude numeric(11,8)!; location geography(Point,4326); \
         distance_km numeric(6,2); estimated_travel_time_minutes integer; created_at timestamptz; updated_at \
         timestamptz",
    ),
    (
        "booking_timeline",
        "id bigint!; booking_id bigint!; status varchar(50)!; description text; metadata jsonb; created_by bigint; \
         created_at timestamptz",
    ),
    (
        "transactions",
        "id bigint!; uuid uuid!; transaction_number varchar(20)!; booking_id bigint; user_id bigint!; type \
         transaction_type!; payment_method payment_method!; amount numeric(10,2)!; currency varchar(3); gateway \
         varchar(50); gateway_transaction_id varchar(255); gateway_response jsonb; status transaction_status; \
         description text; metadata jsonb; processed_at timestamptz; failed_at timestamptz; failure_reason text; \
         created_at timestamptz; updated_at timestamptz",
    ),
    (
        "wallets",
        "id bigint!; user_id bigint!; balance numeric(12,2); currency varchar(3); total_earned numeric(12,2); \
         total_spent numeric(12,2); is_active boolean; created_at timestamptz; updated_at timestamptz",
    ),
    (
        "wallet_transactions",
        "id bigint!; wallet_id bigint!; type wallet_entry_type!; amount numeric(10,2)!; balance_before \
         numeric(12,2)!; balance_after numeric(12,2)!; reference_type varchar(255); reference_id bigint; description \
         text; created_at timestamptz",
    ),
    (
        "payouts",
        "id bigint!; provider_id bigint!; period_start date!; period_end date!; gross_earnings numeric(12,2)!; \
         commission_amount numeric(12,2)!; net_payout numeric(12,2)!; bank_name varchar(100); account_name \
         varchar(255); account_number varchar(50); status payout_status; processed_at timestamptz; failed_at \
         timestamptz; failure_reason text; reference_number varchar(50); created_at timestamptz; updated_at \
         timestamptz",
    ),
    (
        "promo_codes",
        "id bigint!; code varchar(50)!; discount_type discount_type!; discount_value numeric(10,2)!; \
         max_discount_amount numeric(10,2); valid_from timestamptz!; valid_until timestamptz!; usage_limit integer; \
         usage_count integer; per_user_limit integer; min_booking_amount numeric(10,2); applicable_service_ids jsonb; \
         applicable_provider_ids jsonb; new_customers_only boolean; is_active boolean; created_at timestamptz; \
         updated_at timestamptz",
    ),
    (
        "promo_code_usages",
        "id bigint!; promo_code_id bigint!; user_id bigint!; booking_id bigint; discount_amount numeric(10,2)!; \
         created_at timestamptz",
    ),
    (
        "reviews",
        "id bigint!; booking_id bigint!; reviewer_id bigint!; reviewee_id bigint!; reviewer_type reviewer_type!; \
         overall_rating integer!; professionalism_rating integer; communication_rating integer; timeliness_rating \
         integer; quality_rating integer; comment text; tags jsonb; is_visible boolean; is_flagged boolean; \
         flagged_reason text; created_at timestamptz; updated_at timestamptz; deleted_at timestamptz",
    ),
    (
        "messages",
        "id bigint!; uuid uuid!; booking_id bigint!; sender_id bigint!; receiver_id bigint!; message text!; \
         attachment_type varchar(50); attachment_url text; attachment_metadata jsonb; is_read boolean; read_at \
         timestamptz; created_at timestamptz; updated_at timestamptz; deleted_at timestamptz",
    ),
    (
        "notifications",
        "id bigint!; uuid uuid!; user_id bigint!; type varchar(100)!; title varchar(255)!; body text!; action_type \
         varchar(50); action_data jsonb; sent_via jsonb; is_read boolean; read_at timestamptz; created_at timestamptz",
    ),
    (
        "device_tokens",
        "id bigint!; user_id bigint!; device_type device_type!; token text!; device_name varchar(255); \
         device_os_version varchar(50); app_version varchar(50); is_active boolean; last_used_at timestamptz; \
         created_at timestamptz; updated_at timestamptz",
    ),
    ("app_settings", "id bigint!; key varchar(100)!; value jsonb!; description text; updated_at timestamptz"),
    (
        "audit_logs",
        "id bigint!; user_id bigint; action varchar(100)!; auditable_type varchar(255)!; auditable_id bigint!; \
         old_values jsonb; new_values jsonb; ip_address inet; user_agent text; created_at timestamptz",
    ),
];

/// Section 3: the values of each inline `ENUM`, under the name that its type has here.
pub const ENUMS: [(&str, &str); 15] = [
    ("gender", "male female other prefer_not_to_say"),
    ("provider_type", "therapist store"),
    ("verification_status", "pending under_review verified rejected"),
    ("document_verification_status", "pending verified rejected"),
    ("booking_service_type", "home_service in_store"),
    ("booking_schedule_type", "now scheduled"),
    ("booking_status", "pending accepted en_route arrived in_progress completed cancelled no_show"),
    ("transaction_type", "payment refund payout wallet_topup tip"),
    ("payment_method", "card gcash paymaya wallet cash"),
    ("transaction_status", "pending processing completed failed refunded"),
    ("wallet_entry_type", "credit debit"),
    ("payout_status", "pending processing completed failed"),
    ("discount_type", "percentage fixed_amount"),
    ("reviewer_type", "customer provider"),
    ("device_type", "android ios web"),
];

/// Sections 3 and 4: name in the document, table, method, columns.
pub const INDEXES: [(&str, &str, &str, &str); 71] = [
    ("idx_users_phone", "users", "btree", "phone"),
    ("idx_users_email", "users", "btree", "email"),
    ("idx_users_uuid", "users", "btree", "uuid"),
    ("idx_users_active", "users", "btree", "is_active,deleted_at"),
    ("idx_tokenable", "personal_access_tokens", "btree", "tokenable_type,tokenable_id"),
    ("idx_token", "personal_access_tokens", "btree", "token"),
    ("idx_user_addresses_user", "user_addresses", "btree", "user_id"),
    ("idx_user_addresses_location", "user_addresses", "gist", "location"),
    ("idx_model_has_roles", "model_has_roles", "btree", "model_id,model_type"),
    ("idx_providers_user", "providers", "btree", "user_id"),
    ("idx_providers_type", "providers", "btree", "type"),
    ("idx_providers_status", "providers", "btree", "verification_status,is_active"),
    ("idx_providers_available", "providers", "btree", "is_available,type"),
    ("idx_therapist_base_location", "therapist_profiles", "gist", "base_location"),
    ("idx_store_location", "store_profiles", "gist", "location"),
    ("idx_provider_documents_provider", "provider_documents", "btree", "provider_id"),
    ("idx_provider_documents_type", "provider_documents", "btree", "document_type"),
    ("idx_provider_locations_provider", "provider_locations", "btree", "provider_id"),
    ("idx_provider_locations_location", "provider_locations", "gist", "location"),
    ("idx_provider_locations_created", "provider_locations", "btree", "created_at"),
    ("idx_service_categories_slug", "service_categories", "btree", "slug"),
    ("idx_services_category", "services", "btree", "category_id"),
    ("idx_services_slug", "services", "btree", "slug"),
    ("idx_services_active", "services", "btree", "is_active"),
    ("idx_provider_services_provider", "provider_services", "btree", "provider_id"),
    ("idx_provider_services_service", "provider_services", "btree", "service_id"),
    ("idx_bookings_customer", "bookings", "btree", "customer_id"),
    ("idx_bookings_provider", "bookings", "btree", "provider_id"),
    ("idx_bookings_status", "bookings", "btree", "status"),
    ("idx_bookings_type", "bookings", "btree", "type"),
    ("idx_bookings_scheduled", "bookings", "btree", "scheduled_at"),
    ("idx_bookings_created", "bookings", "btree", "created_at"),
    ("idx_booking_locations_location", "booking_locations", "gist", "location"),
    ("idx_booking_timeline_booking", "booking_timeline", "btree", "booking_id"),
    ("idx_booking_timeline_status", "booking_timeline", "btree", "status"),
    ("idx_transactions_booking", "transactions", "btree", "booking_id"),
    ("idx_transactions_user", "transactions", "btree", "user_id"),
    ("idx_transactions_status", "transactions", "btree", "status"),
    ("idx_transactions_gateway_id", "transactions", "btree", "gateway_transaction_id"),
    ("idx_wallets_user", "wallets", "btree", "user_id"),
    ("idx_wallet_transactions_wallet", "wallet_transactions", "btree", "wallet_id"),
    ("idx_wallet_transactions_created", "wallet_transactions", "btree", "created_at"),
    ("idx_payouts_provider", "payouts", "btree", "provider_id"),
    ("idx_payouts_status", "payouts", "btree", "status"),
    ("idx_payouts_period", "payouts", "btree", "period_start,period_end"),
    ("idx_promo_codes_code", "promo_codes", "btree", "code"),
    ("idx_promo_codes_validity", "promo_codes", "btree", "valid_from,valid_until"),
    ("idx_promo_usages_code", "promo_code_usages", "btree", "promo_code_id"),
    ("idx_promo_usages_user", "promo_code_usages", "btree", "user_id"),
    ("idx_reviews_booking", "reviews", "btree", "booking_id"),
    ("idx_reviews_reviewee", "reviews", "btree", "reviewee_id"),
    ("idx_reviews_rating", "reviews", "btree", "overall_rating"),
    ("idx_messages_booking", "messages", "btree", "booking_id"),
    ("idx_messages_sender", "messages", "btree", "sender_id"),
    ("idx_messages_receiver", "messages", "btree", "receiver_id"),
    ("idx_messages_created", "messages", "btree", "created_at"),
    ("idx_notifications_user", "notifications", "btree", "user_id"),
    ("idx_notifications_read", "notifications", "btree", "is_read"),
    ("idx_notifications_created", "notifications", "btree", "created_at"),
    ("idx_device_tokens_user", "device_tokens", "btree", "user_id"),
    ("idx_app_settings_key", "app_settings", "btree", "key"),
    ("idx_audit_logs_user", "audit_logs", "btree", "user_id"),
    ("idx_audit_logs_auditable", "audit_logs", "btree", "auditable_type,auditable_id"),
    ("idx_audit_logs_created", "audit_logs", "btree", "created_at"),
    ("idx_bookings_customer_status", "bookings", "btree", "customer_id,status"),
    ("idx_bookings_provider_status", "bookings", "btree", "provider_id,status"),
    ("idx_therapist_profiles_base_location", "therapist_profiles", "gist", "base_location"),
    ("idx_store_profiles_location", "store_profiles", "gist", "location"),
    ("idx_providers_active", "providers", "btree", "id"),
    ("idx_providers_available_therapists", "providers", "btree", "id,user_id"),
    ("idx_bookings_pending", "bookings", "btree", "created_at"),
];

/// Section 6.1, verbatim.
pub const NEARBY: &str = "
-- Find therapists within 5km of customer location
SELECT
    p.id,
    u.first_name,
    u.last_name,
    tp.specializations,
    p.average_rating,
    ST_Distance(
        tp.base_location,
        ST_SetSRID(ST_MakePoint(121.0244, 14.5547), 4326)::geography
    ) / 1000 AS distance_km
FROM providers p
JOIN users u ON p.user_id = u.id
JOIN therapist_profiles tp ON p.id = tp.provider_id
WHERE p.type = 'therapist'
  AND p.is_available = TRUE
  AND p.verification_status = 'verified'
  AND ST_DWithin(
      tp.base_location,
      ST_SetSRID(ST_MakePoint(121.0244, 14.5547), 4326)::geography,
      5000  -- 5km in meters
  )
ORDER BY distance_km ASC
LIMIT 10;
";

/// Section 6.2, verbatim.
pub const EARNINGS: &str = "
-- Calculate earnings for a provider in a date range
SELECT
    p.id AS provider_id,
    u.first_name || ' ' || u.last_name AS provider_name,
    COUNT(b.id) AS total_bookings,
    SUM(b.service_price + b.distance_surcharge + b.tip_amount) AS gross_earnings,
    SUM(b.commission_amount) AS total_commission,
    SUM(b.provider_earnings + b.tip_amount) AS net_earnings
FROM providers p
JOIN users u ON p.user_id = u.id
JOIN bookings b ON p.id = b.provider_id
WHERE b.status = 'completed'
  AND b.completed_at BETWEEN '2026-01-27' AND '2026-02-03'
  AND p.id = 123
GROUP BY p.id, u.first_name, u.last_name;
";

/// Section 6.3, verbatim.
pub const HISTORY: &str = "
-- Customer booking history
SELECT
    b.booking_number,
    b.type,
    b.status,
    s.name AS service_name,
    u.first_name AS therapist_first_name,
    b.scheduled_at,
    b.total_amount,
    r.overall_rating
FROM bookings b
JOIN services s ON b.service_id = s.id
JOIN providers p ON b.provider_id = p.id
JOIN users u ON p.user_id = u.id
LEFT JOIN reviews r ON b.id = r.booking_id AND r.reviewer_type = 'customer'
WHERE b.customer_id = 456
ORDER BY b.created_at DESC
LIMIT 20;
";
