/**
 * Skipping experts token by token while generating (NAEE, arXiv 2402.14800, section 3.3).
 *
 * <p>A policy is chosen once, stored, and wraps the predictor that a host has already:
 *
 * <pre>{@code
 * BetaSkipPolicy policy = SkipPolicy.calibrate(model, calibration);
 * policy.write(Path.of("policy.json"));
 *
 * SkipCounter counter = new SkipCounter();
 * try (var skipping =
 *     SkippingPredictor.wrap(
 *         model.newPredictor(translator),
 *         model,
 *         SkipPolicy.read(Path.of("policy.json")),
 *         counter)) {
 *   skipping.predict(input);
 * }
 * System.out.println(counter.snapshot().rate());
 * }</pre>
 */
@NullMarked
package io.winnow.skipping;

import org.jspecify.annotations.NullMarked;
