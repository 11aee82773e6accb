package io.winnow.core.internal.layout;

import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.PredictionLayers;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a checkpoint's prediction layers (MTP), which stand behind those of the decoder.
 */
public final class PredictionTensors {
  /** The field of {@code winnow} in config.json that says what became of them. */
  private static final String NOTE = "mtp";

  private static final ImmutableMap<PredictionLayers, String> NOTES =
      ImmutableMap.of(PredictionLayers.PRUNE, "pruned", PredictionLayers.DROP, "dropped");

  /** The fields of config.json that count the layers, of all families. */
  private static final ImmutableList<String> COUNTS =
      ImmutableList.of("num_nextn_predict_layers", "num_mtp_layers", "num_mtp_modules");

  /** What joins the hidden state and the next token's embedding, in such a layer. */
  private static final String JOINT = "eh_proj.weight";

  private final CheckpointLayout layout;
  private final PredictionLayers treatment;
  private final Set<Integer> layers = new TreeSet<>();
  private final List<String> names = new ArrayList<>();

  private PredictionTensors(CheckpointLayout layout, PredictionLayers treatment) {
    this.layout = layout;
    this.treatment = treatment;
  }

  /** Finds them; there may be none. */
  static PredictionTensors of(CheckpointLayout layout, PredictionLayers treatment) {
    PredictionTensors found = new PredictionTensors(layout, treatment);
    int first = layout.config().layers();
    int end = first + layout.json().intOr(0, COUNTS.toArray(String[]::new));
    String decoder = layout.names().layer(0).replaceFirst("layers\\.0\\.$", "");
    Pattern pattern =
        Pattern.compile(
            "(?:"
                + Pattern.quote(decoder + "layers.")
                + "(\\d{1,9})\\.|(?:"
                + Pattern.quote(decoder)
                + ")?mtp[._]).*");
    for (String name : layout.checkpoint().tensors().keySet()) {
      Matcher matcher = pattern.matcher(name);
      if (!matcher.matches()) {
        continue;
      }
      @Nullable String number = matcher.group(1);
      int layer = number == null ? -1 : Integer.parseInt(number);
      boolean behind = layer >= first;
      if (number == null) {
        found.names.add(name);
      } else if (behind
          && (layer < end || layout.checkpoint().has(layout.names().layer(layer) + JOINT))) {
        found.names.add(name);
        found.layers.add(layer);
      }
    }
    return found;
  }

  /** Returns the names of the tensors that are left out. */
  Collection<String> dropped() {
    return treatment == PredictionLayers.DROP ? names : List.of();
  }

  /** Returns the layers that are left out. */
  Set<Integer> droppedLayers() {
    return treatment == PredictionLayers.DROP ? layers : Set.of();
  }

  /**
   * Returns what the layers retain, by layer; those without experts are not named.
   *
   * @param ofLast what the decoder's last layer with experts retains
   * @throws InvalidInputException if a layer has another number of experts
   */
  Map<Integer, List<Integer>> retained(List<Integer> ofLast) {
    Map<Integer, List<Integer>> retained = new TreeMap<>();
    if (treatment == PredictionLayers.DROP) {
      return retained;
    }
    for (int layer : layers) {
      String router = layout.names().router(layer);
      if (layout.checkpoint().has(router)) {
        check(layer, router);
        retained.put(layer, ofLast);
      }
    }
    return retained;
  }

  private void check(int layer, String router) {
    List<Long> shape = layout.checkpoint().tensor(router).shape();
    int experts = layout.experts(layer);
    if (shape.isEmpty() || shape.get(0) != experts) {
      throw new InvalidInputException(
          String.format(
              "The prediction layer %d has another number of experts than the decoder's last layer:"
                  + " '%s' of %s is %s, for %d experts; leave such layers out (--mtp drop,"
                  + " PredictionLayers.DROP)",
              layer, router, layout.checkpoint().folder(), shape, experts));
    }
  }

  /**
   * Says in {@code config.json} what became of them.
   *
   * @param decoder the decoder's part of it
   * @param winnow the note
   * @param fewer whether the decoder's last layer with experts loses some
   */
  void write(JsonObject decoder, JsonObject winnow, boolean fewer) {
    if (treatment == PredictionLayers.DROP) {
      COUNTS.stream().filter(decoder::has).forEach(field -> decoder.addProperty(field, 0));
    }
    if (!names.isEmpty() && (fewer || treatment == PredictionLayers.DROP)) {
      winnow.addProperty(NOTE, NOTES.get(treatment));
    }
  }

  /** Returns what {@code config.json} says became of them; empty if it says nothing. */
  public static Optional<PredictionLayers> noted(CheckpointConfig json) {
    Optional<String> note = json.string("winnow." + NOTE);
    return NOTES.keySet().stream()
        .filter(treatment -> note.equals(Optional.ofNullable(NOTES.get(treatment))))
        .findFirst();
  }
}
