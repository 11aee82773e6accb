package io.winnow.core.internal.form;

import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.GroupedAttention.Gate;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.PositionForm.Growth;
import io.winnow.core.internal.form.PositionForm.Visibility;
import java.util.Collections;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/** Builds configurations of decoders; what is not set is as in Mixtral. Used once. */
public final class DecoderConfigBuilder {
  /** Of the norms of latent vectors, whatever the model's epsilon is. */
  private static final double LATENT_EPSILON = 1e-6;

  private final CheckpointConfig json;
  private final String topKField;
  private final String[] countFields;
  private final int layers;
  private final int heads;
  private final int hiddenSize;
  private final Set<MixerPart> extras = EnumSet.noneOf(MixerPart.class);
  private final Map<String, Rotary> rotaries = new HashMap<>();
  private final Map<String, RotaryConfig> rotations = new HashMap<>();
  private List<String> rotaryEntries = List.of("");
  private int intermediateSize;
  private int sharedSize;
  private int denseSize;
  private IntPredicate sparse = layer -> true;
  private IntFunction<Visibility> visibility = layer -> Visibility.ALL;
  private IntPredicate rotated = layer -> true;
  private IntFunction<String> rotaryOf = layer -> "";
  private Rotary.Reading rotaryReading = Rotary.Reading.WHOLE;
  private boolean interleaved;
  private QueryKeyNorm norm = QueryKeyNorm.NONE;
  private double clip;
  private double scale;
  private IntFunction<@Nullable Growth> growth = layer -> null;
  private boolean latent;
  private boolean biasedLatent;
  private double embeddingFactor = 1;
  private double residualFactor = 1;
  private double logitsDivisor = 1;
  private boolean layerNorm;
  private boolean biasedHead;
  private boolean biasedFeedForward;

  DecoderConfigBuilder(CheckpointConfig json, String topKField, String... countFields) {
    this.json = json;
    this.topKField = topKField;
    this.countFields = countFields.clone();
    requireExperts();
    String activation = json.string("hidden_act").orElse("silu");
    if (!activation.equals("silu")) {
      throw new InvalidInputException(
          "hidden_act is '" + activation + "' in config.json; this family's experts use 'silu'");
    }
    layers = json.requirePositiveInt("num_hidden_layers");
    heads = json.requirePositiveInt("num_attention_heads");
    hiddenSize = json.requirePositiveInt("hidden_size");
  }

  /** Dense models of a family count none, and then say null of other things too. */
  private void requireExperts() {
    JsonObject fields = json.json();
    for (String field : countFields) {
      if (fields.has(field) && json.intOr(0, countFields) == 0) {
        throw new InvalidInputException(
            "The model has no experts: "
                + field
                + " is "
                + fields.get(field)
                + " in config.json; give a model with experts");
      }
    }
  }

  /** Sets m, the intermediate size of a routed expert. */
  public DecoderConfigBuilder expertSize(String field) {
    intermediateSize = json.requirePositiveInt(field);
    return this;
  }

  /** Sets the intermediate size of the shared experts together; 0 for none. */
  public DecoderConfigBuilder sharedSize(int size) {
    sharedSize = size;
    return this;
  }

  /** Sets how many shared experts there are, each as large as a routed one. */
  public DecoderConfigBuilder sharedExperts(int count) {
    return sharedSize(Math.multiplyExact(intermediateSize, count));
  }

  /** Sets which layers have experts, and the intermediate size of the others. */
  public DecoderConfigBuilder sparseLayers(String denseField, IntPredicate newSparse) {
    denseSize = json.requirePositiveInt(denseField);
    sparse = newSparse;
    return this;
  }

  /** Sets which earlier positions a layer's tokens see. */
  public DecoderConfigBuilder visibility(IntFunction<Visibility> newVisibility) {
    visibility = newVisibility;
    return this;
  }

  /** Sets how many positions back every layer's tokens see, themselves included; 0 for all. */
  public DecoderConfigBuilder window(int window) {
    return visibility(layer -> new Visibility(Math.max(0, window), 0, false));
  }

  /** Sets how many positions back tokens see in some layers; 0 for all. */
  public DecoderConfigBuilder window(int window, IntPredicate sliding) {
    return visibility(
        layer ->
            sliding.test(layer) ? new Visibility(Math.max(0, window), 0, false) : Visibility.ALL);
  }

  /** Sets that the rotation is of neighbours. */
  public DecoderConfigBuilder interleavedRotary() {
    return interleavedRotary(true);
  }

  /** Sets whether the rotation is of neighbours, or of elements half of the rotated ones apart. */
  public DecoderConfigBuilder interleavedRotary(boolean newInterleaved) {
    interleaved = newInterleaved;
    return this;
  }

  /**
   * Sets that a part of a head may be rotated even where the rotation is not scaled.
   *
   * @param part it, where config.json does not say
   */
  public DecoderConfigBuilder partialRotary(double part) {
    rotaryReading = rotaryReading.withPart(part);
    return this;
  }

  /** Sets that scaled sines and cosines have the factors short_mscale and long_mscale. */
  public DecoderConfigBuilder rotaryFactorsByLength() {
    rotaryReading = rotaryReading.withFactorsByLength();
    return this;
  }

  /** Sets which layers know positions. */
  public DecoderConfigBuilder rotated(IntPredicate newRotated) {
    rotated = newRotated;
    return this;
  }

  /**
   * Sets by which entry of {@code rope_parameters} a layer is rotated.
   *
   * @param newEntries all of them
   */
  public DecoderConfigBuilder rotary(List<String> newEntries, IntFunction<String> entryOfLayer) {
    rotaryEntries = List.copyOf(newEntries);
    rotaryOf = entryOfLayer;
    return this;
  }

  /** Sets how queries grow with the position in a layer, or null. */
  public DecoderConfigBuilder growth(IntFunction<@Nullable Growth> newGrowth) {
    growth = newGrowth;
    return this;
  }

  /** Adds biases or other weights of grouped queries if {@code present}. */
  public DecoderConfigBuilder attentionParts(boolean present, MixerPart... more) {
    if (present) {
      Collections.addAll(extras, more);
    }
    return this;
  }

  /** Sets that queries, keys, values and the output have biases, if {@code present}. */
  public DecoderConfigBuilder attentionBiases(boolean present) {
    return queryKeyValueBiases(present).attentionParts(present, MixerPart.OUTPUT_BIAS);
  }

  /** Sets that queries, keys and values have biases, if {@code present}. */
  public DecoderConfigBuilder queryKeyValueBiases(boolean present) {
    return attentionParts(present, MixerPart.QUERY_BIAS, MixerPart.KEY_BIAS, MixerPart.VALUE_BIAS);
  }

  /** Sets what is normalised of queries and keys. */
  public DecoderConfigBuilder queryKeyNorm(QueryKeyNorm newNorm) {
    norm = newNorm;
    return this;
  }

  /** Sets the greatest absolute value of queries, keys and values; 0 for any. */
  public DecoderConfigBuilder clip(double newClip) {
    clip = newClip;
    return this;
  }

  /** Sets the factor of the scores; without it, 1 / sqrt(headSize). */
  public DecoderConfigBuilder scale(double newScale) {
    scale = newScale;
    return this;
  }

  /** Sets multi-head latent attention, with biases or not; config.json has its sizes. */
  public DecoderConfigBuilder latent(boolean biased) {
    latent = true;
    biasedLatent = biased;
    return this;
  }

  /** Sets factors of embeddings and of what is added to the residual, a divisor of logits. */
  public DecoderConfigBuilder factors(double embedding, double residual, double logits) {
    embeddingFactor = embedding;
    residualFactor = residual;
    logitsDivisor = logits;
    return this;
  }

  /** Sets that norms also subtract the mean and add a bias. */
  public DecoderConfigBuilder layerNorm() {
    layerNorm = true;
    return this;
  }

  /** Sets whether the head has a bias. */
  public DecoderConfigBuilder biasedHead(boolean biased) {
    biasedHead = biased;
    return this;
  }

  /** Sets whether dense blocks and shared experts have biases. */
  public DecoderConfigBuilder biasedFeedForward(boolean biased) {
    biasedFeedForward = biased;
    return this;
  }

  /** Ends the configuration. */
  public DecoderConfig build() {
    int experts = json.requirePositiveInt(CountFields.with(CountFields.EXPERTS, countFields));
    int topK = json.requirePositiveInt(CountFields.with(CountFields.TOP_K, topKField));
    if (topK > experts) {
      throw new InvalidInputException(
          String.format(
              "%s is %d in config.json, more than %s, %d",
              topKField, topK, String.join(" or ", countFields), experts));
    }
    double rmsEpsilon = json.doubleOr(1e-6, "rms_norm_eps");
    if (rmsEpsilon < 0) {
      throw new InvalidInputException(
          "rms_norm_eps is " + rmsEpsilon + " in config.json; it must not be negative");
    }
    int ofHead =
        latent
            ? json.requirePositiveInt("qk_rope_head_dim")
            : json.intOr(hiddenSize / heads, "head_dim");
    int trained = json.requirePositiveInt("max_position_embeddings");
    int positions = Integer.MAX_VALUE;
    for (String entry : rotaryEntries) {
      Rotary rotary = Rotary.read(json, entry, ofHead, rotaryReading, trained);
      positions = Math.min(positions, rotary.maxPositions());
      if (latent && 2 * rotary.inverseFrequencies().length != ofHead) {
        throw new InvalidInputException(
            "Of the "
                + ofHead
                + " elements that qk_rope_head_dim says in config.json, partial_rotary_factor"
                + " leaves "
                + 2 * rotary.inverseFrequencies().length
                + "; latent attention rotates all of them, remove it");
      }
      rotaries.put(entry, rotary);
      rotations.put(
          entry,
          new RotaryConfig(
              rotary.inverseFrequencies(), rotary.factor(), interleaved, rotary.longer()));
    }
    IntFunction<SequenceMixer> mixer = latent ? latentAttention() : groupedAttention(ofHead);
    return new DecoderConfig(
        json.requirePositiveInt("vocab_size"),
        layers,
        layer -> new LayerForm(mixer.apply(layer), sparse.test(layer)),
        new KernelConfig(
            hiddenSize, rmsEpsilon, embeddingFactor, residualFactor, logitsDivisor, layerNorm),
        intermediateSize,
        experts,
        topK,
        sharedSize,
        denseSize,
        positions,
        json.booleanOr(false, "tie_word_embeddings"),
        biasedHead,
        biasedFeedForward);
  }

  private PositionForm positions(int layer, boolean explicit) {
    Visibility seen = visibility.apply(layer);
    return new PositionForm(
        rotated.test(layer) ? rotations.get(rotaryOf.apply(layer)) : null,
        new Visibility(seen.window(), seen.chunk(), explicit),
        growth.apply(layer));
  }

  private IntFunction<SequenceMixer> groupedAttention(int size) {
    int keyValueHeads = json.intOr(heads, "num_key_value_heads");
    if (keyValueHeads < 1 || heads % keyValueHeads != 0) {
      throw new InvalidInputException(
          "num_key_value_heads is "
              + keyValueHeads
              + " in config.json, which does not divide num_attention_heads, "
              + heads);
    }
    boolean explicit = extras.contains(MixerPart.SINKS);
    return layer -> {
      PositionForm positions = positions(layer, explicit);
      return new GroupedAttention(
          heads,
          keyValueHeads,
          size,
          size,
          scale == 0 ? 1 / Math.sqrt(size) : scale,
          positions,
          norm == QueryKeyNorm.ROTATED && positions.rotary() == null ? QueryKeyNorm.NONE : norm,
          clip,
          Gate.NONE,
          extras);
    };
  }

  private IntFunction<SequenceMixer> latentAttention() {
    int plainSize = json.requirePositiveInt("qk_nope_head_dim");
    int valueSize = json.requirePositiveInt("v_head_dim");
    int rank = json.requirePositiveInt("kv_lora_rank");
    int queryRank = json.intOr(0, "q_lora_rank");
    return layer -> {
      Rotary rotary = Objects.requireNonNull(rotaries.get(rotaryOf.apply(layer)));
      int rotarySize = 2 * rotary.inverseFrequencies().length;
      double factor = rotary.scaleFactor() / Math.sqrt((double) plainSize + rotarySize);
      return new LatentAttention(
          heads,
          plainSize,
          rotarySize,
          valueSize,
          rank,
          queryRank,
          scale == 0 ? factor : scale,
          LATENT_EPSILON,
          biasedLatent,
          positions(layer, false));
    };
  }
}
