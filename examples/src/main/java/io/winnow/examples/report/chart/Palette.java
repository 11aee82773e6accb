package io.winnow.examples.report.chart;

import java.awt.image.BufferedImage;
import java.awt.image.DataBuffer;
import java.awt.image.IndexColorModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Gives a picture one byte per pixel, so that its file is small. */
final class Palette {
  private static final int MOST = 256;

  private Palette() {}

  /**
   * Returns the picture in its 256 most frequent colours: every surface keeps its own exactly, and
   * some of the rare ones on the edges of letters and lines become their nearest neighbours.
   */
  static BufferedImage of(BufferedImage image) {
    int width = image.getWidth();
    int[] pixels = image.getRGB(0, 0, width, image.getHeight(), null, 0, width);
    int[] colors = mostFrequent(pixels);
    Map<Integer, Byte> indices = new HashMap<>();
    IndexColorModel model =
        new IndexColorModel(8, colors.length, colors, 0, false, -1, DataBuffer.TYPE_BYTE);
    BufferedImage result =
        new BufferedImage(width, image.getHeight(), BufferedImage.TYPE_BYTE_INDEXED, model);
    byte[] row = new byte[width];
    int previous = pixels[0];
    byte index = (byte) nearest(colors, previous);
    for (int y = 0; y < image.getHeight(); y++) {
      for (int x = 0; x < width; x++) {
        int pixel = pixels[y * width + x];
        if (pixel != previous) { // Most pixels are like the one before.
          previous = pixel;
          index = indices.computeIfAbsent(pixel, color -> (byte) nearest(colors, color));
        }
        row[x] = index;
      }
      result.getRaster().setDataElements(0, y, width, 1, row);
    }
    return result;
  }

  /** A colour and how many pixels have it. */
  private record Count(int color, int pixels) {}

  private static int[] mostFrequent(int[] pixels) {
    int[] sorted = pixels.clone();
    Arrays.sort(sorted);
    List<Count> counts = new ArrayList<>();
    int start = 0;
    for (int i = 1; i <= sorted.length; i++) {
      if (i == sorted.length || sorted[i] != sorted[start]) {
        counts.add(new Count(sorted[start], i - start));
        start = i;
      }
    }
    counts.sort(Comparator.comparingInt(Count::pixels).reversed()); // Of equal ones by the colour.
    return counts.stream().limit(MOST).mapToInt(Count::color).toArray();
  }

  private static int nearest(int[] colors, int color) {
    int nearest = 0;
    for (int i = 1; i < colors.length; i++) {
      if (distance(colors[i], color) < distance(colors[nearest], color)) {
        nearest = i;
      }
    }
    return nearest;
  }

  private static int distance(int one, int other) {
    int sum = 0;
    for (int shift = 0; shift < 24; shift += 8) {
      int difference = (one >> shift & 0xFF) - (other >> shift & 0xFF);
      sum += difference * difference;
    }
    return sum;
  }
}
