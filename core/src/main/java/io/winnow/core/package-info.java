/**
 * The seam between a running Mixture-of-Experts model and everything that prunes, skips or measures
 * it: {@link io.winnow.core.MoeModel} and its {@link io.winnow.core.MoeLayerView}s.
 *
 * <p>A model of {@code MoeModels} is one already; a host implements it over arrays of its own. This
 * counts how often each expert of the first MoE layer is selected:
 *
 * <pre>{@code
 * MoeModel moe = MoeModel.of(model);
 * MoeLayerView first = moe.moeLayers().get(0);
 * long[] selected = new long[first.numExperts()];
 * moe.forward(
 *     sequences,
 *     new ForwardObserver() {
 *       @Override
 *       public RoutingDecision onRouting(
 *           MoeLayerView layer, float[] logits, RoutingDecision decision) {
 *         if (layer == first) {
 *           for (int expert : decision.experts()) {
 *             selected[expert]++;
 *           }
 *         }
 *         return decision;
 *       }
 *     });
 * }</pre>
 */
@NullMarked
package io.winnow.core;

import org.jspecify.annotations.NullMarked;
