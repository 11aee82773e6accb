/**
 * The seam to Mixture-of-Experts models, and a decoder for checkpoints behind it.
 *
 * <p>What a host names is exported to everybody. Packages below {@code internal} change without
 * notice; Winnow's other modules see those they need.
 */
// Modules that are compiled later, and DJL's, which have but automatic names.
@SuppressWarnings({"module", "requires-automatic", "requires-transitive-automatic"})
module io.winnow.core {
  requires transitive ai.djl.api;
  requires ai.djl.pytorch_engine;
  requires ai.djl.tokenizers;
  requires com.google.common;
  requires com.google.gson;
  requires org.slf4j;
  requires static com.google.errorprone.annotations;
  requires static transitive org.jspecify;

  exports io.winnow.core;
  exports io.winnow.core.calibration;
  exports io.winnow.core.evaluate;
  exports io.winnow.core.generate;
  exports io.winnow.core.model;
  exports io.winnow.core.routing;
  exports io.winnow.core.train;
  exports io.winnow.core.internal.environment to
      io.winnow.pruning;
  exports io.winnow.core.internal.file to
      io.winnow.pruning,
      io.winnow.skipping;
  exports io.winnow.core.internal.kernel.fit to
      io.winnow.pruning;
  exports io.winnow.core.internal.routing to
      io.winnow.pruning;
  exports io.winnow.core.internal.safetensors to
      io.winnow.pruning;

  // The progress of a fine-tuning is read and written as a record.
  opens io.winnow.core.train to
      com.google.gson;
}
