package io.winnow.core.internal.layout;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.form.DecoderConfig;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint's {@code config.json} says when its experts have fewer channels. The field to
 * change is the one whose change its family reads as another width, and as nothing else; where the
 * shared experts' width follows from it, their number is raised until they have room for what they
 * compute now.
 */
final class ExpertWidth {
  private final CheckpointLayout layout;
  private final DecoderConfig old;
  private final int width;

  /**
   * Creates it.
   *
   * @param width m', the channels of every routed expert
   */
  ExpertWidth(CheckpointLayout layout, int width) {
    this.layout = layout;
    old = layout.config();
    this.width = width;
  }

  private boolean isUnchanged() {
    return width == old.intermediateSize();
  }

  /**
   * Checks that there is such a checkpoint.
   *
   * @throws InvalidInputException if not, saying why
   */
  void check() {
    if (width < 1 || width > old.intermediateSize()) {
      throw new InvalidInputException(
          String.format(
              "Experts cannot keep %d channels; they have %d, so keep 1 to %d",
              width, old.intermediateSize(), old.intermediateSize()));
    }
    if (isUnchanged()) {
      return;
    }
    if (!layout.quantization().isNone()) {
      throw new InvalidInputException(
          String.format(
              "The experts of %s are stored quantised (%s), from which single channels cannot be"
                  + " cut; convert the checkpoint to F32, F16 or BF16 first",
              layout.checkpoint().folder(), layout.quantization().method()));
    }
    if (layout.isMerged()) {
      throw new InvalidInputException(
          "Merged experts cannot be narrowed; narrow the model that they were merged of");
    }
    if (!layout.predictions().retained(List.of()).isEmpty()) {
      throw new InvalidInputException(
          String.format(
              "The prediction layers (MTP) of %s have experts that would keep their width, beside a"
                  + " config.json with another; leave these layers out first (winnow prune"
                  + " --retain %d --mtp drop)",
              layout.checkpoint().folder(), old.experts()));
    }
    write(layout.checkpoint().config().json());
  }

  /** Returns the channels that the shared experts have together afterwards. */
  int sharedSize() {
    JsonObject json = layout.checkpoint().config().json();
    write(json);
    return read(json).sharedSize();
  }

  /**
   * Changes the content of {@code config.json}.
   *
   * @throws InvalidInputException if its family has no field for the width alone
   */
  void write(JsonObject config) {
    if (isUnchanged()) {
      return;
    }
    JsonObject decoder = decoder(config);
    for (String field : fieldsOf(decoder, old.intermediateSize())) {
      JsonElement before = decoder.get(field);
      decoder.addProperty(field, width);
      DecoderConfig changed = tryRead(config);
      if (changed != null && changed.intermediateSize() == width && isTheSame(changed)) {
        if (changed.sharedSize() != old.sharedSize()) {
          writeSharedCount(config, decoder);
        }
        return;
      }
      decoder.add(field, before);
    }
    throw new InvalidInputException(
        String.format(
            "Models of type %s have no field in config.json for the width of their routed experts"
                + " alone (here %d), so that these cannot be narrowed; remove experts instead",
            layout.family().modelType(), old.intermediateSize()));
  }

  private void writeSharedCount(JsonObject config, JsonObject decoder) {
    int count = old.sharedSize() / old.intermediateSize();
    int needed = (old.sharedSize() + width - 1) / width;
    Set<String> fields = fieldsOf(decoder, count);
    fields.add("n_shared_experts");
    fields.add("moe_num_shared_experts");
    for (String field : fields) {
      JsonElement before = decoder.get(field);
      if (before == null || isNumber(before, count)) {
        decoder.addProperty(field, needed);
        DecoderConfig changed = tryRead(config);
        if (changed != null && changed.sharedSize() == needed * width && isTheSame(changed)) {
          return;
        }
        if (before == null) {
          decoder.remove(field);
        } else {
          decoder.add(field, before);
        }
      }
    }
    throw new InvalidInputException(
        String.format(
            "The shared expert of models of type %s is as wide as a routed one (%d), and config.json"
                + " cannot say more than one of it, so that the routed ones cannot be narrowed;"
                + " remove experts instead",
            layout.family().modelType(), old.intermediateSize()));
  }

  /** Returns whether nothing else has changed but the widths of experts. */
  private boolean isTheSame(DecoderConfig changed) {
    return changed.denseSize() == old.denseSize()
        && changed.hiddenSize() == old.hiddenSize()
        && changed.layers() == old.layers()
        && changed.vocabularySize() == old.vocabularySize()
        && changed.topK() == old.topK()
        && changed.maxPositions() == old.maxPositions()
        && changed.sparseLayers().equals(old.sparseLayers());
  }

  private DecoderConfig read(JsonObject config) {
    return layout.family().read(layout.checkpoint().config().with(config));
  }

  private @Nullable DecoderConfig tryRead(JsonObject config) {
    try {
      return read(config);
    } catch (InvalidInputException e) {
      return null; // Another field of the same value, which must stay as it is.
    }
  }

  private JsonObject decoder(JsonObject config) {
    String section = layout.family().section();
    return section.isEmpty() ? config : config.getAsJsonObject(section);
  }

  private static Set<String> fieldsOf(JsonObject json, int value) {
    Set<String> sorted = new TreeSet<>();
    for (Map.Entry<String, JsonElement> entry : json.entrySet()) {
      if (isNumber(entry.getValue(), value)) {
        sorted.add(entry.getKey());
      }
    }
    // The usual names first: another field may have an influence that is not looked at.
    Set<String> fields = new LinkedHashSet<>();
    sorted.stream().filter(name -> name.contains("moe")).forEach(fields::add);
    sorted.stream().filter(name -> name.contains("intermediate")).forEach(fields::add);
    fields.addAll(sorted);
    return fields;
  }

  private static boolean isNumber(JsonElement element, int value) {
    return element instanceof JsonPrimitive primitive
        && primitive.isNumber()
        && primitive.getAsDouble() == value;
  }
}
