package io.winnow.core.internal.decoder;

import io.winnow.core.Routing;
import io.winnow.core.routing.MappedRouting;
import org.jspecify.annotations.Nullable;

/**
 * What scores a layer's experts, as read from a checkpoint.
 *
 * @param gateName the gate's name in the checkpoint
 * @param bias added to the gate's logits, or null
 * @param mapping what makes the experts' scores of the gate's, or null where each expert has a row
 *     of the gate
 */
public record StoredRouter(
    Routing routing,
    String gateName,
    Weight gate,
    float @Nullable [] bias,
    @Nullable MappedRouting mapping) {}
